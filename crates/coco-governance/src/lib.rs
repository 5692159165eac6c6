//! Decides what members' signed requests change.
