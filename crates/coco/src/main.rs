//! The `coco` program.
fn main() {}
