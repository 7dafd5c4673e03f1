#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fleetmark_agent_fuzz::spool(bytes));
