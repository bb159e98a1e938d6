//! See `properties/if_none_match.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::if_none_match::check(bytes));
