//! Claims, signatures, and tokens that somebody made up.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const RSA: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwO3FQSkpvjcQRhZUtcB6\n\
FtK4W4KOJfMjt8RVZlR1opzYlN/Sw5QYBxHGgKL7siaFFFNtGxjldk+VTpeVeOYR\n\
wCTZrkeGodJlYM9vXkHrHKFFaXjFMpxphJJUibFbH2foCkJ28SNBOsH78Tex21zx\n\
6GcemXssN2ftfbbOq0uFPQ2JeDBV1yK/ShlfyVQ9R4o3XcaHK6hJ9MvY6BFYyoR0\n\
q9utLiTvm3FeCpeZoUAF4uAqvXx8AGrRO+hwCwZaIzfNddd9NDWf7+qSwAlcavVf\n\
vqeBR5ZU4fB8f1NB/R94rhh6uqUv/mcCkr1GyyJkXfHANyOo2hOv9RfEDQfWeqUl\n\
gwIDAQAB\n\
-----END PUBLIC KEY-----\n\
";
const P256: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwakNRnHnmePj/dugDSKU+788Y2EX\n\
VZMCqW4ARFPz/qdSj9XBc1cgJbN5H+xY2GQjSVg9bVJR/i7lcqRZqWIOKA==\n\
-----END PUBLIC KEY-----\n\
";
const P384: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE4wr75b1NoifjbvItKVowx+aswqhRHORi\n\
88FGH/L0kcw7esbAxPS6jSlT8Bf4jbKENLtc3/plagWujtcgfp+aDLSrPV/aPN8B\n\
BLnFbcfCw6DDI6i4xItjNYzzG2eaeVXi\n\
-----END PUBLIC KEY-----\n\
";
const ED25519: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEAbanyb0/7fSXUmP3jPrT24TYKXsSgijJ3KMILsgdAO+8=\n\
-----END PUBLIC KEY-----\n\
";
// {"sub":"alice@example.com","uid":42,"exp":1500000000}, signed once; the private keys are gone.
const BY_RSA: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZUBleGFtcGxlLmNvbSIsInVpZCI6NDIsImV4cCI6MTUwMDAwMDAwMH0.G1EluRidT8GY2CKDDSoRqjHQDepohEp1zJfopRzwVBheHBaXK4t2A-q3ku700TazEZwUgSywciOA58dqVHqN-8Nfnt0FHmTLFJ4w-vx1BSLVU3METNtFQmm9qIydNupPs12sDyDuWIjtB2FSfR-TViNjFGmWaWFdTGlNrf4WNzlft8kSaU19CtcoHq72faB_PuUkgFHwmyJh9upefNHHkRfmAlf3WUAB1EBFfO-znx90nx5vGtWiSbKZibUpDsIDu5k_r7yzSS5ROIYVI-IWyUkY-Cuicpvr4GNeQ3GX-OdK2N6R2a-20OUFbDwfFbk1tLDI7WmBNJwU4mF_FzZDuw";
const BY_P256: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZUBleGFtcGxlLmNvbSIsInVpZCI6NDIsImV4cCI6MTUwMDAwMDAwMH0.ckVvwkK7kuvuqxwETosNMqz16Az-dWRBjS6MLMU8-xgJCtJuNV9uRL4JhnDkUobLxqudDVauQkVoCZucqlqKPg";
const BY_ED25519: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZUBleGFtcGxlLmNvbSIsInVpZCI6NDIsImV4cCI6MTUwMDAwMDAwMH0.chWLfnA_3x4YfdGGnoAwqa_9G2vuqKpRjpc8ME6QuVlcnpPmFuszR2vbDPOHFWo14EJ1Nf_ztyoJqYi9hmLpBg";
const WITH_CRIT: &str = "eyJhbGciOiJSUzI1NiIsImNyaXQiOlsiYjY0Il0sImI2NCI6ZmFsc2V9.eyJzdWIiOiJhbGljZUBleGFtcGxlLmNvbSIsInVpZCI6NDIsImV4cCI6MTUwMDAwMDAwMH0.TL-rFNYWAzqSjJJIPl9IMM90zmm8PbYxgtrpsUyaUI7e7PkuSlhwWEID8a_ph38AF7OkoVjbXCvFX2jq2MDSMdlX6Pb8brRpiu2GhnMJq1cPgm9km3bMgd-4MXbOR5KOxdgiefkgTd0Hs-UszHLTA0JD-67Fk2ecxDyQmiyAC3sCzL8fZenFe9E9jSQPHlaAg3cjqLIsWLQuMvfL7rtiGYmmG7EL6c1DiQDSMblUQDeicy3FN7dnrVpdH2eymp1GdtkvI8KveUzSWdSOvZKC2KPu6H3J_30810fB_LVgYJMfPf5bCjyYdjJvWYym7Wb8jOJQRKZM0yzzzkZK-_fg3Q";

fn key(claim: &str, signed: Option<Signed>) -> JwtKey {
    JwtKey { claim: claim.into(), from: JwtFrom::Header("authorization".into()), signed: signed.map(Arc::new) }
}

fn signed(file: &[u8], algorithm: Option<Algorithm>) -> Signed {
    Signed::new(file, "key".into(), algorithm).unwrap()
}

fn by_secret(algorithm: jsonwebtoken::Algorithm, secret: &[u8], claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn unsigned(header: &Value, claims: &str) -> String {
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn claims_without_a_look_at_the_signature() {
    let token = |claims: &str| unsigned(&json!({ "alg": "none" }), claims);
    let table = [
        (r#"{"sub":"ann"}"#, "sub", Some("ann")),
        (r#"{"sub":"  ann "}"#, "sub", Some("  ann ")),
        (r#"{"sub":""}"#, "sub", Some("")),
        (r#"{"uid":42}"#, "uid", Some("42")),
        (r#"{"uid":-7}"#, "uid", Some("-7")),
        (r#"{"uid":18446744073709551615}"#, "uid", Some("18446744073709551615")),
        (r#"{"uid":18446744073709551616}"#, "uid", None),
        (r#"{"uid":4.5}"#, "uid", None),
        (r#"{"uid":1e3}"#, "uid", None),
        (r#"{"uid":true}"#, "uid", None),
        (r#"{"uid":null}"#, "uid", None),
        (r#"{"uid":["a"]}"#, "uid", None),
        (r#"{"uid":{"a":1}}"#, "uid", None),
        (r#"{"https://example.com/id":"x"}"#, "https://example.com/id", Some("x")),
        (r#"{"sub":"ann"}"#, "uid", None),
        (r#"["sub"]"#, "sub", None),
        (r#""sub""#, "sub", None),
        ("", "sub", None),
    ];
    for (claims, claim, expected) in table {
        assert_eq!(key(claim, None).id(token(claims).as_bytes()).as_deref(), expected, "{claims}");
    }
    for token in [BY_RSA, BY_P256, BY_ED25519] {
        assert_eq!(key("sub", None).id(token.as_bytes()).as_deref(), Some("alice@example.com"));
    }
}

#[test]
fn garbage_has_no_id() {
    let good = unsigned(&json!({ "alg": "none" }), r#"{"sub":"ann"}"#);
    let huge = unsigned(&json!({ "alg": "none" }), &format!(r#"{{"sub":"ann","x":"{}"}}"#, "x".repeat(MAX_TOKEN)));
    let padded = format!("e30.{}=.x", URL_SAFE_NO_PAD.encode(r#"{"sub":"ann"} "#));
    let deep = unsigned(&json!({ "alg": "none" }), &format!(r#"{{"sub":{}"#, "[".repeat(10_000)));
    let with_key = key("sub", Some(signed(SECRET, None)));
    for bad in
        ["", ".", "..", "...", "a.b", "a.b.c.d", "a.!.c", &good[..good.len() - 1], &format!("{good}.x"), &huge, &deep]
    {
        assert_eq!(key("sub", None).id(bad.as_bytes()), None, "{bad:.40}");
        assert_eq!(with_key.id(bad.as_bytes()), None, "{bad:.40}");
    }
    assert_eq!(key("sub", None).id(padded.as_bytes()), None, "base64url has no padding here (RFC 7515, 2)");
    assert_eq!(key("sub", None).id(b"e30.\xff\xfe.x"), None);
    assert_eq!(with_key.id(b"\xff.\xfe.\xfd"), None);
}

#[test]
fn signatures_are_verified() {
    let claims = json!({ "sub": "ann", "exp": 1, "nbf": 9_999_999_999_u64, "aud": "elsewhere" });
    for (file, token, algorithm) in
        [(RSA, BY_RSA, Algorithm::Rs256), (P256, BY_P256, Algorithm::Es256), (ED25519, BY_ED25519, Algorithm::EdDsa)]
    {
        for told in [None, Some(algorithm)] {
            let signed = signed(file.as_bytes(), told);
            assert_eq!(signed.algorithm(), algorithm);
            assert_eq!(key("sub", Some(signed.clone())).id(token.as_bytes()).as_deref(), Some("alice@example.com"));
            assert_eq!(key("uid", Some(signed)).id(token.as_bytes()).as_deref(), Some("42"), "expired long ago");
        }
    }
    for (algorithm, library) in [
        (Algorithm::Hs256, jsonwebtoken::Algorithm::HS256),
        (Algorithm::Hs384, jsonwebtoken::Algorithm::HS384),
        (Algorithm::Hs512, jsonwebtoken::Algorithm::HS512),
    ] {
        let token = by_secret(library, SECRET, &claims);
        let by = |secret: &[u8]| key("sub", Some(signed(secret, Some(algorithm)))).id(token.as_bytes());
        assert_eq!(by(SECRET).as_deref(), Some("ann"));
        assert_eq!(by(&[SECRET, b"\r\n"].concat()).as_deref(), Some("ann"), "a line end is no part of a secret");
        assert_eq!(by(b"another secret"), None);
    }
}

#[test]
fn nobody_writes_themselves_into_a_bucket() {
    let rsa = key("sub", Some(signed(RSA.as_bytes(), None)));
    let other_payload = {
        let parts: Vec<&str> = BY_RSA.split('.').collect();
        format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(r#"{"sub":"eve"}"#), parts[2])
    };
    let claims = json!({ "sub": "eve" });
    let confused = by_secret(jsonwebtoken::Algorithm::HS256, RSA.as_bytes(), &claims);
    let confused_trimmed = by_secret(jsonwebtoken::Algorithm::HS256, RSA.trim().as_bytes(), &claims);
    let secret = key("sub", Some(signed(SECRET, None)));
    let other_size = by_secret(jsonwebtoken::Algorithm::HS512, SECRET, &claims);
    for (key, token, what) in [
        (&rsa, &*other_payload, "another payload"),
        (&rsa, &BY_RSA[..BY_RSA.len() - 4], "a signature cut short"),
        (&rsa, &BY_RSA[..=BY_RSA.rfind('.').unwrap()], "no signature"),
        (&rsa, &confused, "a secret that is the public key"),
        (&rsa, &confused_trimmed, "the same without its line end"),
        (&rsa, BY_P256, "signed by somebody else"),
        (&rsa, BY_ED25519, "signed by somebody else"),
        (&rsa, WITH_CRIT, "an extension that must be understood"),
        (&secret, &other_size, "another algorithm than the one that is told"),
        (&secret, BY_RSA, "an algorithm of another kind"),
    ] {
        assert_eq!(key.id(token.as_bytes()), None, "{what}");
    }
    for header in [json!({ "alg": "none" }), json!({ "alg": "None" }), json!({}), json!({ "alg": "HS256" })] {
        let token = unsigned(&header, r#"{"sub":"eve"}"#);
        assert_eq!((rsa.id(token.as_bytes()), secret.id(token.as_bytes())), (None, None), "{header}");
    }
}

#[test]
fn files_that_hold_no_key() {
    let table = [
        ("", None, "key is empty"),
        ("\n", None, "key is empty"),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            None,
            "key holds no public key that can be read",
        ),
        (
            "-----BEGIN EC PRIVATE KEY-----\n",
            None,
            "key holds a private key, which is not needed here and must not lie about",
        ),
        ("-----BEGIN CERTIFICATE-----\n", None, "key holds a certificate, not a public key"),
        (P384, None, "key holds a key of another curve than P-256"),
        (RSA, Some(Algorithm::Hs256), "key holds an RSA public key, and HS256 wants a secret"),
        (P256, Some(Algorithm::Rs256), "key holds a P-256 public key, and RS256 wants an RSA public key"),
        (ED25519, Some(Algorithm::Es256), "key holds an Ed25519 public key, and ES256 wants a P-256 public key"),
        ("secret", Some(Algorithm::EdDsa), "key holds a secret, and EdDSA wants an Ed25519 public key"),
    ];
    for (file, algorithm, message) in table {
        assert_eq!(Signed::new(file.as_bytes(), "key".into(), algorithm).unwrap_err().message, message);
    }
    let secret = signed(SECRET, None);
    assert!(!format!("{secret:?}").contains("0123"), "a secret is not for logs");
    assert!(
        !secret.is_weak() && signed(&SECRET[1..], None).is_weak() && signed(SECRET, Some(Algorithm::Hs512)).is_weak()
    );
    assert!(secret == signed(SECRET, None) && secret != signed(&SECRET[1..], None));
}
