//! Reading what was packed into a block of bytes, whose layout is the matter of who packed it.

/// The bytes of a field that was written at `start` when the block was made.
///
/// # Panics
/// If the block is shorter: its maker has written something else.
pub(super) fn field<const N: usize>(block: &[u8], start: usize) -> [u8; N] {
    block
        .get(start..start + N)
        .and_then(|bytes| bytes.try_into().ok())
        .expect("the block has every field that its maker wrote")
}
