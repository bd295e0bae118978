//! Resource limits and priorities: `prlimit(2)`, `setpriority(2)`.
