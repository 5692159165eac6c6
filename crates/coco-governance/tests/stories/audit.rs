//! The books of a service are gone through from its entries alone.

mod books;
mod forged;
mod honest;
