//! The books of a service are gone through from its entries alone.

mod books;
mod disaster;
mod forged;
mod honest;
mod requests;
