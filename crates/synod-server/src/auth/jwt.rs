//! Tokens as JSON Web Tokens, with etcd's options and claims.

mod ring;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use synod_kv::Identity;
use tracing::warn;

use super::recent::Recent;
use super::{VerifyOnly, WallTime};
use crate::flags::duration;

/// Signs and reads JSON Web Tokens.
pub(crate) struct JwtTokens {
    algorithm: Algorithm,
    /// None where only the public key is.
    signing: Option<EncodingKey>,
    checking: DecodingKey,
    ttl: Duration,
    /// Tokens whose signature was found good: checking one costs as much as a hundred reads.
    good: Mutex<Recent<blake3::Hash, (Identity, u64)>>,
}

/// Options for tokens that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TokenOptionsError {
    /// etcd knows no such method, or Synod does not.
    #[error("auth: invalid auth signature method: --auth-token sign-method={0:?}")]
    Method(String),
    /// The time is none.
    #[error("auth: invalid auth options: --auth-token ttl={0:?} is no duration")]
    Ttl(String),
    /// A file cannot be read.
    #[error("auth: --auth-token {option}={path}: {reason}")]
    File {
        /// Which one.
        option: &'static str,
        /// Where.
        path: String,
        /// Why not.
        reason: io::Error,
    },
    /// No key for the method.
    #[error("auth: missing key data: --auth-token needs priv-key, or pub-key to only check tokens")]
    MissingKey,
    /// A file holds no key for the method.
    #[error("auth: --auth-token {option}: no key for {method}: {reason}")]
    Key {
        /// Which one.
        option: &'static str,
        /// The method.
        method: String,
        /// Why not.
        reason: jsonwebtoken::errors::Error,
    },
    /// They are of two pairs.
    #[error("auth: public and private keys don't match")]
    KeyMismatch,
}

/// etcd's claims. Without one of the first two it is no token of a user.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
}

impl JwtTokens {
    /// Reads options and the files they name.
    pub(super) fn open(options: &BTreeMap<String, String>) -> Result<Self, TokenOptionsError> {
        const KNOWN: [&str; 4] = ["sign-method", "pub-key", "priv-key", "ttl"];
        for unknown in options.keys().filter(|name| !KNOWN.contains(&name.as_str())) {
            warn!(option = unknown, "unknown JWT option");
        }
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        ring::install();
        let method = option("sign-method");
        let algorithm = method.parse::<Algorithm>();
        let algorithm = algorithm.map_err(|_| TokenOptionsError::Method(method.to_owned()))?;
        let ttl = match option("ttl") {
            "" => Duration::from_secs(300),
            text => duration(text).map_err(|_| TokenOptionsError::Ttl(text.to_owned()))?,
        };
        let keys = [("pub-key", option("pub-key")), ("priv-key", option("priv-key"))];
        let [public, private] = keys.map(|(option, path)| read(option, path));
        let (signing, checking) = keys_of(algorithm, public?.as_deref(), private?.as_deref())?;
        Ok(Self { algorithm, signing, checking, ttl, good: Mutex::new(Recent::new(GOOD_MAX)) })
    }

    pub(super) fn issue(
        &self,
        name: &str,
        revision: u64,
        now: WallTime,
    ) -> Result<String, VerifyOnly> {
        let key = self.signing.as_ref().ok_or(VerifyOnly)?;
        let exp = Some(now.plus(self.ttl).as_secs());
        let claims = Claims { username: name.to_owned(), revision, exp };
        // The key was tried when it was read.
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, key).map_err(|_| VerifyOnly)
    }

    pub(super) fn read(&self, token: &str, now: WallTime) -> Option<Identity> {
        let digest = blake3::hash(token.as_bytes());
        let known = self.good.lock().get(digest);
        let (identity, end) = match known {
            Some(known) => known,
            None => {
                let claims = self.check(token)?;
                let Claims { username: name, revision, exp } = claims;
                let known = (Identity { name, issued: Some(revision) }, exp.unwrap_or(u64::MAX));
                self.good.lock().put(digest, known.clone());
                known
            }
        };
        (now.as_secs() < end).then_some(identity)
    }

    fn check(&self, token: &str) -> Option<Claims> {
        // Times are checked above, against a clock that is given.
        let mut validation = Validation::new(self.algorithm);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode(token, &self.checking, &validation).ok().map(|data| data.claims)
    }
}

/// Keys are secrets.
impl std::fmt::Debug for JwtTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtTokens").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn read(option: &'static str, path: &str) -> Result<Option<Vec<u8>>, TokenOptionsError> {
    if path.is_empty() {
        return Ok(None);
    }
    let file = |reason| TokenOptionsError::File { option, path: path.to_owned(), reason };
    fs::read(path).map(|bytes| Some(bytes).filter(|bytes| !bytes.is_empty())).map_err(file)
}

type Keys = (Option<EncodingKey>, DecodingKey);

fn keys_of(
    algorithm: Algorithm,
    public: Option<&[u8]>,
    private: Option<&[u8]>,
) -> Result<Keys, TokenOptionsError> {
    let bad = |option| {
        let method = format!("{algorithm:?}");
        move |reason| TokenOptionsError::Key { option, method, reason }
    };
    let family = algorithm.family();
    if family == AlgorithmFamily::Hmac {
        // As in etcd, the private key is the secret, and the public one means nothing.
        let secret = private.ok_or(TokenOptionsError::MissingKey)?;
        return Ok((Some(EncodingKey::from_secret(secret)), DecodingKey::from_secret(secret)));
    }
    let read_public = |pem| match family {
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
        AlgorithmFamily::Rsa | AlgorithmFamily::Hmac => DecodingKey::from_rsa_pem(pem),
    };
    let public = public.map(read_public).transpose().map_err(bad("pub-key"))?;
    let Some(private) = private else {
        return Ok((None, public.ok_or(TokenOptionsError::MissingKey)?));
    };
    let signing = match family {
        AlgorithmFamily::Ec => EncodingKey::from_ec_pem(private),
        AlgorithmFamily::Ed => EncodingKey::from_ed_pem(private),
        AlgorithmFamily::Rsa | AlgorithmFamily::Hmac => EncodingKey::from_rsa_pem(private),
    };
    let signing = signing.map_err(bad("priv-key"))?;
    let own = ring::public_of(&signing, algorithm).map_err(bad("priv-key"))?;
    let checking = public.unwrap_or(own);
    probe(algorithm, &signing, &checking)?;
    Ok((Some(signing), checking))
}

/// Signs something and checks it: keys of two pairs, or for another method, show here.
fn probe(
    algorithm: Algorithm,
    signing: &EncodingKey,
    checking: &DecodingKey,
) -> Result<(), TokenOptionsError> {
    let claims = Claims { username: String::new(), revision: 0, exp: None };
    let signed = jsonwebtoken::encode(&Header::new(algorithm), &claims, signing);
    let method = format!("{algorithm:?}");
    let signed =
        signed.map_err(|reason| TokenOptionsError::Key { option: "priv-key", method, reason })?;
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    match jsonwebtoken::decode::<Claims>(&signed, checking, &validation) {
        Ok(_) => Ok(()),
        Err(_) => Err(TokenOptionsError::KeyMismatch),
    }
}

/// Tokens known to be good: about 10 MB.
const GOOD_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests;
