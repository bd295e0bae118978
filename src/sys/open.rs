//! Paths inside hostile trees: `openat2(2)`.
