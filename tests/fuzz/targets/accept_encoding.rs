//! See `properties/accept_encoding.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::accept_encoding::check(bytes));
