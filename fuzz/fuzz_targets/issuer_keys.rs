#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    coco_fuzz::check(coco_fuzz::target("issuer_keys").expect("it is in the list"), data);
});
