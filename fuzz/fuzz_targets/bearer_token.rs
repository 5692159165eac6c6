#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    coco_fuzz::check(coco_fuzz::target("bearer_token").expect("it is in the list"), data);
});
