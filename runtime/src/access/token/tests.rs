//! Tokens that let in, and many that do not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Time = Time::from_ms(1_800_000_000_000);

fn tokens() -> Tokens {
    let mut tokens = Tokens { user_claim: "sub".to_owned(), ..Tokens::default() };
    tokens.add_secret(SECRET).expect("a long secret");
    tokens
}

fn signed(algorithm: Algorithm, claims: &Value, key: &EncodingKey) -> String {
    verify::install();
    encode(&Header::new(algorithm), claims, key).expect("a key that fits")
}

fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, claims, &EncodingKey::from_secret(SECRET))
}

/// A token with any header and any signature.
fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (header, claims) = (header.to_string(), claims.to_string());
    format!("{}.{}.{}", part(header.as_bytes()), part(claims.as_bytes()), part(signature))
}

fn ann() -> Value {
    json!({"sub": "ann", "exp": 1_800_000_100})
}

#[test]
fn a_right_token_says_who_its_bearer_is_and_until_when() {
    let claims = json!({
        "sub": "ann", "exp": 1_800_000_100.5, "nbf": 1_799_999_990, "room": "red", "level": 3,
        "roles": ["a", "b"], "nested": {"x": 1}, "long": "x".repeat(300),
    });
    let bearer = tokens().check(NOW, hs256(&claims).as_bytes()).expect("a right token");
    assert_eq!(bearer.identity.as_str(), "ann");
    assert_eq!(bearer.credential.ends_at, Some(Time::from_ms(1_800_000_105_500)));
    let named: Vec<String> = bearer
        .credential
        .claims
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "exp" | "nbf" | "sub"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(named, ["level=3", "roles=a", "roles=b", "room=red"]);
    assert_eq!(bearer.credential.grants, None);
}

#[test]
fn a_token_may_be_limited_to_topics() {
    let limited = |topics: Value| {
        let token = hs256(&json!({"sub": "ann", "exp": 1_800_000_100, "topics": topics}));
        tokens().check(NOW, token.as_bytes()).map(|bearer| bearer.credential.grants)
    };
    let grants = limited(json!({"publish": ["a/+"], "subscribe": ["{username}/#"]}));
    assert_eq!(grants.expect("limits").map(|grants| grants.rules().len()), Some(2));
    for wrong in
        [json!([]), json!({"read": []}), json!({"publish": "a"}), json!({"publish": ["a#"]})]
    {
        assert_eq!(limited(wrong), Err(TokenError::Grants));
    }
}

#[test]
fn tokens_that_do_not_hold_are_refused_with_the_reason() {
    let mut strict = tokens();
    strict.issuer = "us".to_owned();
    strict.audience = "broker".to_owned();
    let with = |name: &str, value: Value| {
        let mut claims =
            json!({"sub": "ann", "exp": 1_800_000_100, "iss": "us", "aud": ["broker"]});
        claims[name] = value;
        strict.check(NOW, hs256(&claims).as_bytes()).map(|_| ())
    };
    assert_eq!(with("aud", json!("broker")), Ok(()));
    assert_eq!(with("exp", json!(1_799_999_990)), Err(TokenError::Ended));
    assert_eq!(with("exp", json!(1_799_999_996)), Ok(()), "within the leeway");
    assert_eq!(with("exp", json!("1800000100")), Err(TokenError::NoEnd));
    assert_eq!(with("exp", Value::Null), Err(TokenError::NoEnd));
    assert_eq!(with("exp", json!(-1)), Err(TokenError::NoEnd));
    assert_eq!(with("exp", json!(1e300)), Err(TokenError::NoEnd));
    assert_eq!(with("nbf", json!(1_800_000_010)), Err(TokenError::NotYet));
    assert_eq!(with("nbf", json!("soon")), Err(TokenError::Malformed));
    assert_eq!(with("iss", json!("them")), Err(TokenError::Issuer));
    assert_eq!(with("aud", json!(["other"])), Err(TokenError::Audience));
    assert_eq!(with("sub", json!("")), Err(TokenError::NoUser("sub".to_owned())));
    assert_eq!(with("sub", json!(["ann"])), Err(TokenError::Signature));
}

#[test]
fn forged_tokens_are_refused() {
    let tokens = tokens();
    let refused = |token: &str| tokens.check(NOW, token.as_bytes()).expect_err(token);
    let right = hs256(&ann());
    let (head, _) = right.rsplit_once('.').expect("three parts");
    assert_eq!(refused(&format!("{head}.")), TokenError::Signature);
    let other = EncodingKey::from_secret(b"another secret that is long enough");
    assert_eq!(refused(&signed(Algorithm::HS256, &ann(), &other)), TokenError::Signature);
    for algorithm in ["none", "None", "NONE", ""] {
        let header = json!({"alg": algorithm, "typ": "JWT"});
        assert_eq!(refused(&forged(&header, &ann(), b"")), TokenError::Malformed, "{algorithm}");
    }
    // The header is read before any signature is: JSON that opens and never closes, as deep as fits.
    for bomb in [format!("{{\"alg\":{}", "[".repeat(12_000)), "{\"alg\":".repeat(1_500)] {
        let token = format!("{}.e30.", URL_SAFE_NO_PAD.encode(&bomb));
        assert!(token.len() <= TOKEN_MAXIMUM_BYTES);
        assert_eq!(refused(&token), TokenError::Malformed);
    }
    let header = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    assert_eq!(refused(&forged(&header, &ann(), b"x")), TokenError::Critical);
    let key = EncodingKey::from_secret(SECRET);
    let list = encode(&Header::new(Algorithm::HS256), &json!(["no", "claims"]), &key);
    assert_eq!(refused(&list.expect("JSON")), TokenError::Signature);
    assert_eq!(refused(&"x".repeat(20_000)), TokenError::TooLong);
    for text in ["", ".", "..", "eyJ.eyJ.eyJ", "a.b.c.d", "\u{0}", "ey\u{fffd}.a.b"] {
        assert_eq!(refused(text), TokenError::Malformed, "{text}");
    }
}

/// The classical confusion: the public key, which everybody has, taken for a shared secret.
#[test]
fn a_public_key_is_no_secret() {
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519] {
        let pair = KeyPair::generate_for(algorithm).expect("a key");
        let mut tokens = Tokens { user_claim: "sub".to_owned(), ..Tokens::default() };
        tokens.add_pem(pair.public_key_pem().as_bytes()).expect("a public key");
        for secret in [pair.public_key_pem().into_bytes(), pair.der_bytes().to_vec()] {
            let key = EncodingKey::from_secret(&secret);
            let token = signed(Algorithm::HS256, &ann(), &key);
            assert_eq!(tokens.check(NOW, token.as_bytes()), Err(TokenError::Signature));
        }
    }
}

/// Signs, as somebody else's program would: by `ring` itself.
type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// A key of each kind: the algorithm's name, how it signs, the public half in PEM and in JWKS.
struct Signer {
    name: &'static str,
    sign: Sign,
    pem: Option<String>,
    jwk: Value,
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signers() -> Vec<Signer> {
    let random = ring::rand::SystemRandom::new;
    let mut signers = Vec::new();
    let kid = "k";
    for (name, algorithm) in [
        ("HS256", ring::hmac::HMAC_SHA256),
        ("HS384", ring::hmac::HMAC_SHA384),
        ("HS512", ring::hmac::HMAC_SHA512),
    ] {
        let key = ring::hmac::Key::new(algorithm, SECRET);
        let sign = move |message: &[u8]| ring::hmac::sign(&key, message).as_ref().to_vec();
        let jwk = json!({"kty": "oct", "kid": kid, "k": base64url(SECRET)});
        signers.push(Signer { name, sign: Box::new(sign), pem: None, jwk });
    }
    let rsa = pem(include_str!("../../../tests/fixtures/tokens/rsa.key"));
    for (name, padding) in [
        ("RS256", &RSA_PKCS1_SHA256 as &'static dyn RsaEncoding),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ] {
        let key = RsaKeyPair::from_pkcs8(&rsa).expect("a private key");
        let ring::rsa::PublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
        let jwk = json!({"kty": "RSA", "kid": kid, "n": base64url(&n), "e": base64url(&e)});
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; key.public().modulus_len()];
            key.sign(padding, &random(), message, &mut signature).expect("a signature");
            signature
        };
        let pem = include_str!("../../../tests/fixtures/tokens/rsa.pub").to_owned();
        signers.push(Signer { name, sign: Box::new(sign), pem: Some(pem), jwk });
    }
    for (name, curve, algorithm, of) in [
        ("ES256", "P-256", &PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_FIXED_SIGNING),
        ("ES384", "P-384", &PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_FIXED_SIGNING),
    ] {
        let pair = KeyPair::generate_for(algorithm).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(of, &pair.serialize_der(), &random());
        let key = key.expect("a private key");
        let point = pair.der_bytes().to_vec();
        let (x, y) = point[1..].split_at(point.len() / 2);
        let (x, y) = (base64url(x), base64url(y));
        let jwk = json!({"kty": "EC", "kid": kid, "crv": curve, "x": x, "y": y});
        let sign = move |m: &[u8]| key.sign(&random(), m).expect("a signature").as_ref().to_vec();
        let pem = Some(pair.public_key_pem());
        signers.push(Signer { name, sign: Box::new(sign), pem, jwk });
    }
    let pair = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pair.serialize_der());
    let key = key.expect("a private key");
    let x = base64url(pair.der_bytes());
    let jwk = json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": x});
    let sign = move |message: &[u8]| key.sign(message).as_ref().to_vec();
    let pem = Some(pair.public_key_pem());
    signers.push(Signer { name: "EdDSA", sign: Box::new(sign), pem, jwk });
    signers
}

/// The bytes between the lines that begin and end.
fn pem(text: &str) -> Vec<u8> {
    let lines: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(lines).expect("base64")
}

/// A token whose header says one algorithm, signed by another.
fn token_by(signer: &Signer, algorithm: &str, claims: &Value) -> String {
    let unsigned = forged(&json!({"alg": algorithm, "kid": "k"}), claims, b"");
    let message = unsigned.trim_end_matches('.');
    format!("{message}.{}", base64url(&(signer.sign)(message.as_bytes())))
}

/// Those that take this signer's tokens: by its key in PEM or as a secret, and by its document.
fn takers(signer: &Signer) -> Vec<Tokens> {
    let empty = || Tokens { user_claim: "sub".to_owned(), ..Tokens::default() };
    let mut by_file = empty();
    match &signer.pem {
        Some(pem) => by_file.add_pem(pem.as_bytes()).expect("a public key"),
        None => by_file.add_secret(SECRET).expect("a secret"),
    }
    let mut by_document = empty();
    let document = json!({"keys": [signer.jwk]}).to_string();
    by_document.add_jwks(document.as_bytes()).expect("a document");
    vec![by_file, by_document]
}

#[test]
fn every_algorithm_is_taken_with_its_own_key_and_no_other() {
    let signers = signers();
    for signer in &signers {
        for tokens in takers(signer) {
            let name = signer.name;
            let right = token_by(signer, name, &ann());
            assert!(tokens.check(NOW, right.as_bytes()).is_ok(), "{name}");
            let (head, signature) = right.rsplit_once('.').expect("three parts");
            let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64");
            bytes[7] ^= 1;
            let broken = format!("{head}.{}", base64url(&bytes));
            assert!(tokens.check(NOW, broken.as_bytes()).is_err(), "{name}: another signature");
            let eve =
                forged(&json!({"alg": name, "kid": "k"}), &json!({"sub": "eve", "exp": 2e9}), b"");
            let moved = format!("{}{signature}", eve);
            assert!(tokens.check(NOW, moved.as_bytes()).is_err(), "{name}: another's claims");
            for other in signers.iter().filter(|other| other.name != name) {
                let confused = token_by(signer, other.name, &ann());
                let confused = tokens.check(NOW, confused.as_bytes());
                assert!(confused.is_err(), "{name} called {}", other.name);
                if other.jwk != signer.jwk {
                    let foreign = token_by(other, other.name, &ann());
                    let foreign = tokens.check(NOW, foreign.as_bytes());
                    assert!(foreign.is_err(), "{} with the key of {name}", other.name);
                    let foreign = token_by(other, name, &ann());
                    let foreign = tokens.check(NOW, foreign.as_bytes());
                    assert!(foreign.is_err(), "{} called {name}", other.name);
                }
            }
        }
    }
}

#[test]
fn what_the_broker_issues_it_takes() {
    let mut tokens = tokens();
    tokens.issuer = "us".to_owned();
    tokens.audience = "broker".to_owned();
    tokens.user_claim = "user".to_owned();
    let issuer = issue::Issuer::new(SECRET.into(), "us", "broker", "user");
    let topics = json!({"publish": ["a/#"], "subscribe": []});
    let token = issuer.issue("ann", 1_800_000_100, Some(topics)).expect("a token");
    let bearer = tokens.check(NOW, token.as_bytes()).expect("one of ours");
    assert_eq!(bearer.identity.as_str(), "ann");
    assert_eq!(bearer.credential.ends_at, Some(Time::from_ms(1_800_000_105_000)));
    assert_eq!(bearer.credential.grants.map(|grants| grants.rules().len()), Some(1));
    assert!(tokens.still_has(bearer.basis));
    tokens.audience = "another".to_owned();
    assert!(!tokens.still_has(bearer.basis));
}

#[test]
fn keys_of_a_document_are_found_by_their_names() {
    let secret = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let document = json!({"keys": [
        {"kty": "oct", "kid": "old", "k": secret("old")},
        {"kty": "oct", "kid": "new", "k": secret("new")},
        {"kty": "oct", "kid": "not", "use": "enc", "k": secret("not")},
        {"kty": "something", "kid": "else"},
    ]});
    let mut tokens = Tokens { user_claim: "sub".to_owned(), ..Tokens::default() };
    tokens.add_jwks(document.to_string().as_bytes()).expect("a document");
    let under = |kid: &str, secret: &str| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(kid.to_owned());
        let key = EncodingKey::from_secret(secret.as_bytes());
        verify::install();
        let token = encode(&header, &ann(), &key).expect("a token");
        tokens.check(NOW, token.as_bytes()).map(|_| ())
    };
    assert_eq!(under("new", "new"), Ok(()));
    assert_eq!(under("old", "new"), Err(TokenError::Signature));
    assert_eq!(under("not", "not"), Err(TokenError::Signature));
    for (text, wrong) in
        [("{\"keys\":[]}", KeyError::NoKey), ("{\"keys\":[{\"kty\":\"x\"}]}", KeyError::NoKey)]
    {
        assert_eq!(tokens.add_jwks(text.as_bytes()), Err(wrong));
    }
    assert!(matches!(tokens.add_jwks(b"[1"), Err(KeyError::Jwks(_))));
    assert_eq!(tokens.add_secret(b"short\n"), Err(KeyError::ShortSecret(5)));
    assert_eq!(tokens.add_pem(b"-----BEGIN NOTHING-----"), Err(KeyError::Pem));
}
