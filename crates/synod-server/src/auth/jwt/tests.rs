//! Tokens of every method, and what is no token.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// Key pairs for tests, and for nothing else.
const RSA_PRIVATE: &str = include_str!("keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("keys/rsa.pub.pem");
const OTHER_RSA_PUBLIC: &str = include_str!("keys/other-rsa.pub.pem");
const EC_PRIVATE: &str = include_str!("keys/ec.pem");
const EC_PUBLIC: &str = include_str!("keys/ec.pub.pem");
const ED_PRIVATE: &str = include_str!("keys/ed.pem");
const ED_PUBLIC: &str = include_str!("keys/ed.pub.pem");

fn at(seconds: u64) -> WallTime {
    WallTime::of_millis(seconds * 1000)
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn open(method: &str, public: &str, private: &str) -> Result<JwtTokens, TokenOptionsError> {
    let dir = tempfile::tempdir().unwrap();
    let mut options = BTreeMap::from([("sign-method".to_owned(), method.to_owned())]);
    for (name, text) in [("pub-key", public), ("priv-key", private)] {
        if !text.is_empty() {
            options.insert(name.to_owned(), file(dir.path(), name, text));
        }
    }
    options.insert("ttl".to_owned(), "1m30s".to_owned());
    JwtTokens::open(&options)
}

#[test]
fn each_of_etcds_methods_signs_and_checks() {
    let rsa = (RSA_PUBLIC, RSA_PRIVATE);
    let table = [
        ("HS256", ("", "secret")),
        ("HS384", ("", "secret")),
        ("HS512", ("", "secret")),
        ("RS256", rsa),
        ("RS384", rsa),
        ("RS512", rsa),
        ("PS256", rsa),
        ("PS384", rsa),
        ("PS512", rsa),
        ("ES256", (EC_PUBLIC, EC_PRIVATE)),
        ("EdDSA", (ED_PUBLIC, ED_PRIVATE)),
    ];
    for (method, (public, private)) in table {
        let both = open(method, public, private).unwrap();
        let signer = open(method, "", private).unwrap();
        let token = signer.issue("ann", 7, at(1000)).unwrap();
        let identity = Identity { name: "ann".to_owned(), issued: Some(7) };
        for reader in [&both, &signer] {
            assert_eq!(reader.read(&token, at(1089)), Some(identity.clone()), "{method}");
            assert_eq!(reader.read(&token, at(1090)), None, "{method}: its time is over");
        }
        if !public.is_empty() {
            let checker = open(method, public, "").unwrap();
            assert_eq!(checker.read(&token, at(1000)), Some(identity), "{method}");
            assert_eq!(checker.issue("ann", 7, at(0)), Err(VerifyOnly));
        }
    }
}

#[test]
fn keys_that_do_not_fit_are_refused_at_start() {
    let told = |method, public, private| open(method, public, private).unwrap_err().to_string();
    assert!(told("RS256", "", "").contains("missing key data"));
    assert!(told("HS256", "x", "").contains("missing key data"));
    assert!(told("RS256", OTHER_RSA_PUBLIC, RSA_PRIVATE).contains("don't match"));
    assert!(told("RS256", "", "no key").contains("priv-key"));
    assert!(told("ES256", EC_PUBLIC, RSA_PRIVATE).contains("priv-key"));
    assert!(told("none", "", "x").contains("invalid auth signature method"));
    assert!(told("", "", "x").contains("invalid auth signature method"));
}

fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_secret(b"secret");
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// etcd before 3.4.25 panicked at the first two.
#[test]
fn etcd_3_4_25_a_token_without_user_or_revision_is_nobodys_and_panics_nobody() {
    let tokens = open("HS256", "", "secret").unwrap();
    for claims in [
        json!({ "revision": 1, "exp": 2000 }),
        json!({ "username": "ann", "exp": 2000 }),
        json!({ "username": 5, "revision": 1, "exp": 2000 }),
        json!({ "username": "ann", "revision": "1", "exp": 2000 }),
        json!({ "username": "ann", "revision": -1, "exp": 2000 }),
        json!({ "username": "ann", "revision": 1, "exp": "soon" }),
        json!({ "username": null, "revision": null }),
        json!({}),
        json!([]),
        json!("ann"),
    ] {
        assert_eq!(tokens.read(&signed(&claims), at(1000)), None, "{claims}");
    }
    for noise in ["", ".", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(tokens.read(noise, at(1000)), None, "{noise}");
    }
    let forever = json!({ "username": "ann", "revision": 1 });
    assert!(tokens.read(&signed(&forever), at(1000)).is_some(), "as in etcd");
}

#[test]
fn another_method_with_the_same_key_is_nobodys() {
    let tokens = open("RS256", RSA_PUBLIC, RSA_PRIVATE).unwrap();
    // The old trick: the public key as a secret.
    let claims = json!({ "username": "root", "revision": 1, "exp": 2000 });
    let key = EncodingKey::from_secret(RSA_PUBLIC.as_bytes());
    let forged = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
    assert_eq!(tokens.read(&forged, at(1000)), None);
}
