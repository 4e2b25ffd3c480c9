//! The sections about who comes in and how: `[tls]`, `[websocket]`, `[security]` and `[jwt]`.

use super::section::section;
use super::sections::Http;

const HOUR_MS: u64 = 60 * 60 * 1000;
const PATH_BYTES: usize = 4_096;

section! {
    /// What clients are shown, and must show, over TLS.
    tls Tls {
        /// File of the certificate and those between it and a root, in PEM. Needed to listen with TLS.
        certificate_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// File of the certificate's private key, in PEM.
        key_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// The oldest version of TLS that is spoken.
        minimum_version: String = "1.2".to_owned(), Word(&["1.2", "1.3"]), reloads;
        /// Whether clients show a certificate of theirs, which then says who they are.
        client_certificates: String = "none".to_owned(), Word(&["none", "optional", "required"]),
            reloads;
        /// File of the certificates that vouch for those of clients, in PEM.
        client_ca_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// File of revoked certificates (CRL), in PEM: a list of each issuer in the chain; empty for none.
        revoked_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// What of a client's certificate is its user name.
        user_name: String = "common_name".to_owned(),
            Word(&["common_name", "dns_name", "email", "uri"]), reloads;
    }
}

section! {
    /// MQTT over WebSocket.
    websocket Websocket {
        /// Origins whose web pages may connect, beside pages of the broker's own host; "*" for all.
        origins: Vec<String> = Vec::new(), Origins, reloads;
    }
}

section! {
    /// Who may come in, and do what.
    security Security {
        /// Whether clients may come in that do not say who they are: from the network, or where
        /// others have to.
        allow_anonymous: bool = false, Truth, reloads;
        /// File of users and hashes of their passwords, as `signalhouse passwd` and mosquitto_passwd
        /// write it; empty for none.
        password_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// File of rules of who may publish and subscribe where; what none allows is then denied.
        /// Empty: everybody who is in may do everything.
        acl_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// Milliseconds between looks at the files named in `[tls]`, `[security]`, `[jwt]`, `[http]`
        /// and `[quotas]`; 0 for SIGHUP only.
        watch_interval_ms: u64 = 5_000, Whole(0, 24 * HOUR_MS), reloads;
        /// Passwords checked at once, each on a thread of its own.
        password_threads: u16 = 2, Whole(1, 64);
        /// Logins that may wait for their passwords to be checked. Over it: 0x89.
        waiting_logins: u32 = 1_024, Whole(1, 1_000_000);
    }
}

section! {
    /// Tokens (JWT), as passwords or as the enhanced method JWT.
    jwt Jwt {
        /// File of the secret that signs tokens, at least 32 bytes; empty for none.
        secret_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// File of the public key of who signs tokens, in PEM; empty for none.
        public_key_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// File of the public keys of who signs tokens, as JWKS; empty for none.
        jwks_file: String = String::new(), Text(PATH_BYTES), reloads;
        /// What the claim `iss` of a token must be; empty for anything.
        issuer: String = String::new(), Text(1_024), reloads;
        /// What the claim `aud` of a token must be or have; empty for anything.
        audience: String = String::new(), Text(1_024), reloads;
        /// The claim that is a token's user name.
        user_name_claim: String = "sub".to_owned(), Text(256), reloads;
    }
}

impl Security {
    /// Whether something is there that checks who a client is.
    pub(super) fn authenticates(&self, jwt: &Jwt, tls: &Tls, http: &Http) -> bool {
        !self.password_file.is_empty()
            || jwt.is_used()
            || tls.client_certificates != "none"
            || !http.token_secret_file.is_empty()
    }
}

impl Jwt {
    /// Whether there is a key for tokens.
    #[must_use]
    pub fn is_used(&self) -> bool {
        [&self.secret_file, &self.public_key_file, &self.jwks_file]
            .iter()
            .any(|file| !file.is_empty())
    }
}
