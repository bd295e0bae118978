//! Control groups of either version: limits, membership, freezing, killing.
