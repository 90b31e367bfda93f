#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    driftline_fuzz_targets::run("jwt", data);
});
