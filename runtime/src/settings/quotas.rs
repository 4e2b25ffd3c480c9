//! What the `[quotas]` section and its file mean.

use serde::Deserialize;
use signalhouse_core::quota::{self, Holder, Quota, network};
use signalhouse_core::wire::types::Text;

use super::Quotas;

/// The file of quotas.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaFile {
    #[serde(default, rename = "quota")]
    quotas: Vec<Entry>,
}

/// One quota; what it does not say is not bound.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    user: Option<String>,
    /// The id of an API key.
    key: Option<String>,
    address: Option<String>,
    #[serde(default)]
    messages_per_second: u32,
    #[serde(default)]
    messages_per_day: u64,
    #[serde(default)]
    connections: u32,
    #[serde(default)]
    stored_bytes: u64,
}

impl Quotas {
    /// The quotas in force, the file's included.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn to_core(&self) -> Result<quota::Quotas, String> {
        if self.file.is_empty() {
            return self.with_file("");
        }
        let text = std::fs::read_to_string(&self.file)
            .map_err(|error| format!("{} cannot be read: {error}", self.file))?;
        self.with_file(&text)
    }

    /// The same, where the file has this text.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn with_file(&self, text: &str) -> Result<quota::Quotas, String> {
        let closes_at_qos0 = self.qos0 == "close";
        let bounds = |quota: Quota| {
            let unbounded = Quota { closes_at_qos0: quota.closes_at_qos0, ..Quota::default() };
            (quota != unbounded).then_some(quota)
        };
        let mut quotas = quota::Quotas {
            every_user: bounds(Quota {
                messages_per_second: self.user_messages_per_second,
                messages_per_day: self.user_messages_per_day,
                connections: self.user_connections,
                stored_bytes: self.user_stored_bytes,
                closes_at_qos0,
            }),
            every_address: bounds(Quota {
                messages_per_second: self.address_messages_per_second,
                messages_per_day: self.address_messages_per_day,
                connections: self.address_connections,
                stored_bytes: self.address_stored_bytes,
                closes_at_qos0,
            }),
            ..quota::Quotas::default()
        };
        let file: QuotaFile = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            format!("{}, line {line}: {}", self.file, error.message())
        })?;
        for entry in file.quotas {
            let holder = entry.holder().map_err(|fault| format!("{}: {fault}", self.file))?;
            let quota = Quota {
                messages_per_second: entry.messages_per_second,
                messages_per_day: entry.messages_per_day,
                connections: entry.connections,
                stored_bytes: entry.stored_bytes,
                closes_at_qos0,
            };
            if quotas.of.insert(holder.clone(), quota).is_some() {
                return Err(format!("{}: {holder} is there twice", self.file));
            }
        }
        Ok(quotas)
    }
}

impl Entry {
    fn holder(&self) -> Result<Holder, String> {
        let text = |name: &str| Text::try_from(name).map_err(|error| format!("{name}: {error}"));
        match (&self.user, &self.key, &self.address) {
            (Some(user), None, None) => Ok(Holder::User(text(user)?)),
            (None, Some(key), None) => Ok(Holder::Key(text(key)?)),
            (None, None, Some(address)) => {
                let address: std::net::IpAddr =
                    address.parse().map_err(|_| format!("{address} is not an address"))?;
                Ok(Holder::Address(text(&network(address).to_string())?))
            }
            _ => Err("a quota needs one of user, key and address".to_owned()),
        }
    }
}
