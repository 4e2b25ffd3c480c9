//! Addresses of peers, as far as they are counted.

use std::net::{IpAddr, Ipv6Addr};

/// What is counted as one: whoever has one IPv6 address usually has all of its network.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_counted_as_what_they_are() {
        let counted = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("2001:db8::1:2:3:4"), "2001:db8::");
    }
}
