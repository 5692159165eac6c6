#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    coco_fuzz::check(coco_fuzz::target("evidence").expect("it is in the list"), data);
});
