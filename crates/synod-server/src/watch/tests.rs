//! The hub without sockets, threads or clocks: against a list of all events, and in the situations
//! in which others have failed.

mod defects;
mod oracle;
mod steps;
mod world;
