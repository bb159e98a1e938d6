//! See `properties/cursor.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz_targets::cursor::check(bytes));
