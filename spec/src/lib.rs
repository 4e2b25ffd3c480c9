//! The requirements of Signalhouse as data, and the tests that guard its layout.
