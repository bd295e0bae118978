//! The verbs: each carries out a plan on the kernel.

pub mod doctor;
pub mod images;
pub mod relay;

pub mod init_config;
