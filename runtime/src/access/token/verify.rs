//! What checks and makes the signatures of tokens: `jsonwebtoken` asks, `ring` computes.
//!
//! Tokens of every family are checked; only those with a shared secret are made.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// Makes the process's tokens go through here. May be called often.
pub(super) fn install() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: signer,
        verifier_factory: verifier,
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    // If the embedding program installed its own, that is the one it wants.
    ONCE.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

struct Ring<K> {
    algorithm: Algorithm,
    key: K,
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    // Checked here too: this is what a confusion of key and algorithm comes down to.
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(Ring { algorithm: *algorithm, key: key.clone() }))
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    let fits = key.family() == algorithm.family();
    let Some(hmac) = hmac_of(*algorithm).filter(|_| fits) else {
        return Err(ErrorKind::UnsupportedAlgorithm.into());
    };
    let key = hmac::Key::new(hmac, key.as_bytes());
    Ok(Box::new(Ring { algorithm: *algorithm, key }))
}

impl JwtVerifier for Ring<DecodingKey> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Ring<DecodingKey> {
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let right = match (self.key.kind(), hmac_of(self.algorithm)) {
            (DecodingKeyKind::SecretOrDer(secret), Some(hmac)) => {
                hmac::verify(&hmac::Key::new(hmac, secret), message, tag).is_ok()
            }
            (DecodingKeyKind::SecretOrDer(key), None) => public(self.algorithm)
                .is_some_and(|of| UnparsedPublicKey::new(of, key).verify(message, tag).is_ok()),
            (DecodingKeyKind::RsaModulusExponent { n, e }, _) => rsa(self.algorithm)
                .is_some_and(|of| RsaPublicKeyComponents { n, e }.verify(of, message, tag).is_ok()),
        };
        if right { Ok(()) } else { Err(signature::Error::new()) }
    }
}

impl JwtSigner for Ring<hmac::Key> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Signer<Vec<u8>> for Ring<hmac::Key> {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.key, message).as_ref().to_vec())
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // what is unknown is not supported
fn hmac_of(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // what is unknown is not supported
fn public(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&ED25519),
        _ => rsa(algorithm).map(|of| of as &dyn VerificationAlgorithm),
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // what is unknown is not supported
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}
