//! Addresses and devices by rtnetlink.
