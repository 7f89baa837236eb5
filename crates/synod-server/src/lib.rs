//! synod-server.
