//! Processes by descriptor: `pidfd_open(2)`, `pidfd_send_signal(2)`, `setns(2)`.
