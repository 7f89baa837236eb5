//! The generated messages, clients and services, one module for each package of the interface.
//!
//! Their sources are in `proto/`. They stay at the edge: inside, the types of `synod-kv` are used.

#![expect(
    missing_docs,
    clippy::allow_attributes,
    unused_qualifications,
    reason = "the code is generated; what its names do not say is said in `proto/`"
)]

pub mod authpb {
    //! Users, roles and permissions.
    tonic::include_proto!("authpb");
}

pub mod etcdserverpb {
    //! The requests, the answers and the services.
    tonic::include_proto!("etcdserverpb");
}

pub mod mvccpb {
    //! Keys and events.
    tonic::include_proto!("mvccpb");
}

pub mod v3electionpb {
    //! Offices that one of many holds.
    tonic::include_proto!("v3electionpb");
}

pub mod v3lockpb {
    //! Locks.
    tonic::include_proto!("v3lockpb");
}
