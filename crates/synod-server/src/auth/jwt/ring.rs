//! Signatures of JSON Web Tokens by `ring`, which TLS has brought along.
//!
//! The library's own choice would bring `rsa`, whose private operations take a time that tells of
//! the key (RUSTSEC-2023-0071), and four more crates beside it. Tokens are signed on a server that
//! strangers can time.

use std::sync::OnceLock;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{
    self as by, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding,
    RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};

/// Makes the library sign and check with `ring`, for all of this process.
pub(super) fn install() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        // A program that this server is part of may have chosen already: then its choice stands.
        let _ = PROVIDER.install_default();
    });
}

/// The public key of a private one.
pub(super) fn public_of(key: &EncodingKey, algorithm: Algorithm) -> Result<DecodingKey, Error> {
    let bytes = key.as_bytes();
    Ok(match Secret::read(bytes, algorithm)? {
        Secret::Hmac(_) => DecodingKey::from_secret(bytes),
        Secret::Rsa(pair, _) => DecodingKey::from_rsa_der(pair.public_key().as_ref()),
        Secret::Ecdsa(pair) => DecodingKey::from_ec_der(pair.public_key().as_ref()),
        Secret::Ed(pair) => DecodingKey::from_ed_der(pair.public_key().as_ref()),
    })
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let secret = Secret::read(key.as_bytes(), *algorithm)?;
        Ok(Box::new(Signing { algorithm: *algorithm, secret }))
    },
    verifier_factory: |algorithm, key| {
        if key.family() != algorithm.family() {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        let (method, public) = (Method::of(*algorithm)?, key.try_get_as_bytes()?.to_vec());
        Ok(Box::new(Checking { algorithm: *algorithm, method, public }))
    },
    // For key sets in JSON, which nothing here reads.
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(ErrorKind::InvalidKeyFormat.into()),
        rsa_pub_components_from_public_key: |_| Err(ErrorKind::InvalidKeyFormat.into()),
        ec_pub_components_from_private_key: |_, _| Err(ErrorKind::InvalidKeyFormat.into()),
        ed_pub_components_from_private_key: |_, _| Err(ErrorKind::InvalidKeyFormat.into()),
        compute_digest: |_, _| Err(ErrorKind::InvalidKeyFormat.into()),
    },
};

/// How an algorithm signs and checks.
enum Method {
    Hmac(hmac::Algorithm),
    Rsa(&'static dyn RsaEncoding, &'static dyn VerificationAlgorithm),
    Ecdsa(&'static EcdsaSigningAlgorithm, &'static dyn VerificationAlgorithm),
    Ed(&'static dyn VerificationAlgorithm),
}

impl Method {
    fn of(algorithm: Algorithm) -> Result<Self, Error> {
        Ok(match algorithm {
            Algorithm::HS256 => Self::Hmac(hmac::HMAC_SHA256),
            Algorithm::HS384 => Self::Hmac(hmac::HMAC_SHA384),
            Algorithm::HS512 => Self::Hmac(hmac::HMAC_SHA512),
            Algorithm::RS256 => Self::Rsa(&by::RSA_PKCS1_SHA256, &by::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => Self::Rsa(&by::RSA_PKCS1_SHA384, &by::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => Self::Rsa(&by::RSA_PKCS1_SHA512, &by::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => Self::Rsa(&by::RSA_PSS_SHA256, &by::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => Self::Rsa(&by::RSA_PSS_SHA384, &by::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => Self::Rsa(&by::RSA_PSS_SHA512, &by::RSA_PSS_2048_8192_SHA512),
            Algorithm::ES256 => {
                Self::Ecdsa(&by::ECDSA_P256_SHA256_FIXED_SIGNING, &by::ECDSA_P256_SHA256_FIXED)
            }
            Algorithm::ES384 => {
                Self::Ecdsa(&by::ECDSA_P384_SHA384_FIXED_SIGNING, &by::ECDSA_P384_SHA384_FIXED)
            }
            Algorithm::EdDSA => Self::Ed(&by::ED25519),
            _ => return Err(ErrorKind::InvalidAlgorithm.into()),
        })
    }
}

/// A private key, ready to sign.
enum Secret {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Secret {
    fn read(bytes: &[u8], algorithm: Algorithm) -> Result<Self, Error> {
        Ok(match Method::of(algorithm)? {
            Method::Hmac(digest) => Self::Hmac(hmac::Key::new(digest, bytes)),
            Method::Rsa(encoding, _) => {
                let pair = RsaKeyPair::from_der(bytes)
                    .map_err(|error| ErrorKind::InvalidRsaKey(error.to_string()))?;
                Self::Rsa(Box::new(pair), encoding)
            }
            Method::Ecdsa(curve, _) => {
                let pair = EcdsaKeyPair::from_pkcs8(curve, bytes, &SystemRandom::new());
                Self::Ecdsa(pair.map_err(|_| ErrorKind::InvalidEcdsaKey)?)
            }
            Method::Ed(_) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes);
                Self::Ed(pair.map_err(|_| ErrorKind::InvalidEddsaKey)?)
            }
        })
    }
}

struct Signing {
    algorithm: Algorithm,
    secret: Secret,
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Secret::Rsa(pair, encoding) => {
                let mut signed = vec![0; pair.public().modulus_len()];
                let done = pair.sign(*encoding, &random, message, &mut signed);
                done.map(|()| signed).map_err(|_| signature::Error::new())
            }
            Secret::Ecdsa(pair) => {
                let signed = pair.sign(&random, message).map_err(|_| signature::Error::new())?;
                Ok(signed.as_ref().to_vec())
            }
            Secret::Ed(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

struct Checking {
    algorithm: Algorithm,
    method: Method,
    public: Vec<u8>,
}

impl Verifier<Vec<u8>> for Checking {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> Result<(), signature::Error> {
        let good = match &self.method {
            // In constant time.
            Method::Hmac(digest) => {
                hmac::verify(&hmac::Key::new(*digest, &self.public), message, signed)
            }
            Method::Rsa(_, by) | Method::Ecdsa(_, by) | Method::Ed(by) => {
                UnparsedPublicKey::new(*by, &self.public).verify(message, signed)
            }
        };
        good.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Checking {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
