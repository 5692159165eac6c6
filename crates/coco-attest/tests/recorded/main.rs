//! Evidence that was recorded on real machines: what it proves, when, and under which policies.
//!
//! It is not in this repository: `COCO_TEST_DATA` says where it lies (its README says where it comes from, under which licences, and what
//! others found). Without it these tests say "skipped".

#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod azure;
mod caci;
mod cca;
mod data;
mod gcp;
mod intel;
mod maa;
mod mint;
mod nitro;
mod snp;
mod vbs;
