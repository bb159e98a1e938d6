//! See `properties/grammars.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::grammars::check(bytes));
