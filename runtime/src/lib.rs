//! Signalhouse.
