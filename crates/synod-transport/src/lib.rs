//! synod-transport.
