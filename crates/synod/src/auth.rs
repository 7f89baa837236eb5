//! `synod auth`, `synod user`, `synod role`: who may do what.

use std::io::{self, BufRead};

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use synod_client::Client;
use synod_etcd::proto::authpb::permission::Type;
use synod_etcd::proto::authpb::{Permission, UserAddOptions};
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;

use crate::cli::ClientArgs;
use crate::client;
use crate::keys::KeysArgs;

/// `synod auth`
#[derive(Args, Debug)]
pub(crate) struct AuthArgs {
    #[command(subcommand)]
    command: AuthCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum AuthCommand {
    /// Ask everybody who they are. Needs a user root that has the role root.
    Enable,
    /// Ask nobody.
    Disable,
    /// Say whether it is enabled.
    Status,
}

/// `synod user`
#[derive(Args, Debug)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user; the password is NAME:PASSWORD's, or the first line of standard input.
    Add {
        name: String,
        /// One that only a certificate identifies.
        #[arg(long)]
        no_password: bool,
    },
    /// Delete a user.
    Delete { name: String },
    /// List the roles of a user.
    Get { name: String },
    /// List the users.
    List,
    /// Change the password to the first line of standard input.
    Passwd { name: String },
    /// Give a user a role.
    GrantRole { name: String, role: String },
    /// Take a role from a user.
    RevokeRole { name: String, role: String },
}

/// `synod role`
#[derive(Args, Debug)]
pub(crate) struct RoleArgs {
    #[command(subcommand)]
    command: RoleCommand,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum RoleCommand {
    /// Add a role.
    Add { role: String },
    /// Delete a role.
    Delete { role: String },
    /// List what a role may.
    Get { role: String },
    /// List the roles.
    List,
    /// Allow a role to read or write keys.
    GrantPermission {
        role: String,
        #[arg(value_enum, ignore_case = true)]
        kind: Kind,
        #[command(flatten)]
        keys: KeysArgs,
    },
    /// Take that back.
    RevokePermission {
        role: String,
        #[command(flatten)]
        keys: KeysArgs,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Read,
    Write,
    Readwrite,
}

/// Sends one request of the service, and takes its answer.
macro_rules! call {
    ($client:ident.$kind:ident: $method:ident($request:expr)) => {{
        let request = $request;
        let asked = $client.$kind(|service| {
            let request = request.clone();
            async move { AuthClient::new(service).$method(request).await }
        });
        asked.await?
    }};
}

/// Runs `synod auth`.
pub(crate) fn auth(args: &AuthArgs) -> anyhow::Result<()> {
    client::ask(&args.client, async |client| {
        match args.command {
            AuthCommand::Enable => {
                call!(client.write: auth_enable(pb::AuthEnableRequest {}));
                println!("Authentication Enabled");
            }
            AuthCommand::Disable => {
                call!(client.write: auth_disable(pb::AuthDisableRequest {}));
                println!("Authentication Disabled");
            }
            AuthCommand::Status => {
                let answer = call!(client.read: auth_status(pb::AuthStatusRequest {}));
                println!("Authentication Status: {}", answer.enabled);
                println!("AuthRevision: {}", answer.auth_revision);
            }
        }
        Ok(())
    })
}

/// Runs `synod user`.
pub(crate) fn user(args: UserArgs) -> anyhow::Result<()> {
    client::ask(&args.client, async |client| user_command(client, args.command).await)
}

async fn user_command(client: &Client, command: UserCommand) -> anyhow::Result<()> {
    match command {
        UserCommand::Add { name, no_password } => {
            let request = add(name, no_password)?;
            let name = request.name.clone();
            call!(client.write: user_add(request));
            println!("User {name} created");
        }
        UserCommand::Delete { name } => {
            call!(client.write: user_delete(pb::AuthUserDeleteRequest { name: name.clone() }));
            println!("User {name} deleted");
        }
        UserCommand::Get { name } => {
            let answer =
                call!(client.read: user_get(pb::AuthUserGetRequest { name: name.clone() }));
            println!("User: {name}\nRoles: {}", answer.roles.join(" "));
        }
        UserCommand::List => {
            let answer = call!(client.read: user_list(pb::AuthUserListRequest {}));
            answer.users.iter().for_each(|user| println!("{user}"));
        }
        UserCommand::Passwd { name } => {
            let (password, hashed_password) = (password()?, String::new());
            let request = pb::AuthUserChangePasswordRequest { name, password, hashed_password };
            call!(client.write: user_change_password(request));
            println!("Password updated");
        }
        UserCommand::GrantRole { name: user, role } => {
            let (who, what) = (user.clone(), role.clone());
            call!(client.write: user_grant_role(pb::AuthUserGrantRoleRequest { user, role }));
            println!("Role {what} is granted to user {who}");
        }
        UserCommand::RevokeRole { name, role } => {
            let (who, what) = (name.clone(), role.clone());
            call!(client.write: user_revoke_role(pb::AuthUserRevokeRoleRequest { name, role }));
            println!("Role {what} is revoked from user {who}");
        }
    }
    Ok(())
}

fn add(name: String, no_password: bool) -> anyhow::Result<pb::AuthUserAddRequest> {
    let (name, password) = match name.split_once(':') {
        _ if no_password => (name, String::new()),
        Some((name, password)) => (name.to_owned(), password.to_owned()),
        None => (name, password()?),
    };
    let options = Some(UserAddOptions { no_password });
    Ok(pb::AuthUserAddRequest { name, password, options, ..Default::default() })
}

fn password() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("cannot read the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Runs `synod role`.
pub(crate) fn role(args: RoleArgs) -> anyhow::Result<()> {
    client::ask(&args.client, async |client| role_command(client, args.command).await)
}

async fn role_command(client: &Client, command: RoleCommand) -> anyhow::Result<()> {
    match command {
        RoleCommand::Add { role: name } => {
            call!(client.write: role_add(pb::AuthRoleAddRequest { name: name.clone() }));
            println!("Role {name} created");
        }
        RoleCommand::Delete { role } => {
            call!(client.write: role_delete(pb::AuthRoleDeleteRequest { role: role.clone() }));
            println!("Role {role} deleted");
        }
        RoleCommand::Get { role } => {
            let answer =
                call!(client.read: role_get(pb::AuthRoleGetRequest { role: role.clone() }));
            println!("Role {role}");
            for (title, kind) in [("KV Read:", Type::Read), ("KV Write:", Type::Write)] {
                println!("{title}");
                let may = |perm: &&Permission| [kind, Type::Readwrite].contains(&perm.perm_type());
                answer.perm.iter().filter(may).for_each(|perm| {
                    println!("\t{}", range(&perm.key, &perm.range_end));
                });
            }
        }
        RoleCommand::List => {
            let answer = call!(client.read: role_list(pb::AuthRoleListRequest {}));
            answer.roles.iter().for_each(|role| println!("{role}"));
        }
        RoleCommand::GrantPermission { role: name, kind, keys } => {
            let (key, range_end) = keys.wire()?;
            let kind = match kind {
                Kind::Read => Type::Read,
                Kind::Write => Type::Write,
                Kind::Readwrite => Type::Readwrite,
            };
            let perm = Some(Permission { perm_type: kind.into(), key, range_end });
            let request = pb::AuthRoleGrantPermissionRequest { name: name.clone(), perm };
            call!(client.write: role_grant_permission(request));
            println!("Role {name} updated");
        }
        RoleCommand::RevokePermission { role, keys } => {
            let (key, range_end) = keys.wire()?;
            let revoked = range(&key, &range_end);
            let name = role.clone();
            let request = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
            call!(client.write: role_revoke_permission(request));
            println!("Permission of range {revoked} is revoked from role {name}");
        }
    }
    Ok(())
}

/// A range of keys for people.
fn range(key: &Bytes, end: &Bytes) -> String {
    let key = String::from_utf8_lossy(key);
    match end.as_ref() {
        b"" => key.into_owned(),
        b"\0" => format!("[{key}, <open ended>"),
        end => format!("[{key}, {})", String::from_utf8_lossy(end)),
    }
}
