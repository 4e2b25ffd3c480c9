//! Seeds and profiles as the command line takes them.

use signalhouse_sim::plan::Profile;

use super::Profiles;

/// Seeds from `first` up to, and without, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeedRange {
    pub(super) first: u64,
    pub(super) end: u64,
}

/// A seed, decimal or with `0x`.
pub(super) fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no seed; a number is, decimal or 0x…"))
}

/// `A..B`, without `B`.
pub(super) fn parse_range(text: &str) -> Result<SeedRange, String> {
    let (first, end) = text.split_once("..").ok_or("a range of seeds is written A..B")?;
    let (first, end) = (parse_seed(first)?, parse_seed(end)?);
    if first >= end {
        return Err(format!("{text} has no seeds in it"));
    }
    Ok(SeedRange { first, end })
}

/// A profile by its name.
pub(super) fn parse_profile(text: &str) -> Result<Profile, String> {
    Profile::from_name(text).ok_or_else(|| format!("the profiles are {}", names()))
}

/// A profile by its name, or `each`.
pub(super) fn parse_profiles(text: &str) -> Result<Profiles, String> {
    if text == "each" {
        return Ok(Profiles(Profile::EACH.to_vec()));
    }
    parse_profile(text).map(|profile| Profiles(vec![profile]))
}

fn names() -> String {
    let names: Vec<_> =
        Profile::EACH.into_iter().chain([Profile::Disk]).map(Profile::name).collect();
    names.join(", ")
}
