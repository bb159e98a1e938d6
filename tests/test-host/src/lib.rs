//! A test host in place of `spin up`: runs the component from the same `spin.toml` where Spin is not installed.
//!
//! It serves tests, CI and a first look; production is Spin. It is built from the parts that Spin is
//! built from and mirrors the host facts the component is designed around, the awkward ones above all.
//! Each mirrored fact names the place in Spin's source (release 4.1) that it was read from.
//!
//! - [`manifest`]: what is read of `spin.toml` and of the runtime configuration file
//! - [`engine`]: wasmtime set up as Spin sets it up, and the compiled component
//! - [`sqlite`]: the host side of `spin:sqlite@3.1.0`
//! - [`faults`]: what a test wants to go wrong with the database
//! - [`variables`]: the host side of `spin:variables@3.0.0`
//! - [`server`]: the listener, instance reuse and what becomes of a failed body

pub mod engine;
pub mod faults;
pub mod manifest;
pub mod server;
pub mod sqlite;
pub mod variables;

pub use engine::App;
pub use server::{Server, Settings};
