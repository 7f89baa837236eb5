//! etcd's service Auth: users, roles, permissions, and how one signs in.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use synod_etcd::proto::etcdserverpb as pb;
use synod_etcd::proto::etcdserverpb::auth_server::Auth;
use synod_etcd::{EtcdError, Refusal, auth};
use synod_kv::{AuthCommand, Command, PasswordHash, Response as StoreResponse, TokenSecret};
use tonic::{Code, Request, Response, Status};

use super::access::mismatch;
use super::{Context, refusal};
use crate::auth::{PasswordError, WallTime};
use crate::random::random;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct AuthService(pub(super) Arc<Context>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Auth for AuthService {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Answer<pb::AuthEnableResponse> {
        let secret = new_secret().map_err(|error| refusal::failed(&error))?;
        let header = self.change(&request, AuthCommand::Enable { secret }).await?;
        Ok(Response::new(pb::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Answer<pb::AuthDisableResponse> {
        let header = self.change(&request, AuthCommand::Disable).await?;
        Ok(Response::new(pb::AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Answer<pb::AuthStatusResponse> {
        let context = &self.0;
        let caller = context.caller(&request)?;
        context.linearize(&caller).await?;
        let status = context.reader.auth_status();
        Ok(Response::new(pb::AuthStatusResponse {
            header: self.header(),
            enabled: status.enabled,
            auth_revision: status.revision,
        }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Answer<pb::AuthenticateResponse> {
        let context = &self.0;
        let caller = context.caller(&request)?;
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        // The password may have changed a moment ago, on another member.
        context.linearize(&caller).await?;
        let login = context.reader.login(&name).map_err(Refusal::from)?;
        let hash = login.password.as_ref();
        let right = context.passwords.check(&name, hash, password).await.map_err(of_password)?;
        if login.passwordless {
            // etcd has no error of its own for it, and its inner words come out.
            let text = "auth: authentication failed, password was given for no password user";
            return Err(Refusal::own(Code::Unknown, text).into());
        }
        if !right {
            return Err(Refusal::new(EtcdError::AuthFailed).into());
        }
        // The revision is that of the password checked: if it has changed since, the token is
        // too old already.
        let token = context.issue_token(&name, login.revision, WallTime::now())?;
        Ok(Response::new(pb::AuthenticateResponse { header: self.header(), token }))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Answer<pb::AuthUserAddResponse> {
        let (head, request) = split(request);
        let pb::AuthUserAddRequest { name, password, options, hashed_password } = request;
        let passwordless = options.is_some_and(|options| options.no_password);
        let password = match passwordless {
            true => None,
            false => Some(self.hash(password, &hashed_password).await?),
        };
        let header = self.change(&head, AuthCommand::UserAdd { name, password }).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Answer<pb::AuthUserGetResponse> {
        let caller = self.0.caller(&request)?;
        let name = request.into_inner().name;
        self.0.linearize(&caller).await?;
        let read = self.0.read(&caller, true, move |context, who| {
            context.reader.roles_of(who, &name).map_err(Refusal::from)
        });
        let roles = read.await?;
        Ok(Response::new(pb::AuthUserGetResponse { header: self.header(), roles }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Answer<pb::AuthUserListResponse> {
        let caller = self.0.caller(&request)?;
        self.0.linearize(&caller).await?;
        let read = self
            .0
            .read(&caller, true, |context, who| context.reader.users(who).map_err(Refusal::from));
        let users = read.await?;
        Ok(Response::new(pb::AuthUserListResponse { header: self.header(), users }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Answer<pb::AuthUserDeleteResponse> {
        let (head, pb::AuthUserDeleteRequest { name }) = split(request);
        let header = self.change(&head, AuthCommand::UserDelete { name }).await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Answer<pb::AuthUserChangePasswordResponse> {
        let (head, request) = split(request);
        let pb::AuthUserChangePasswordRequest { name, password, hashed_password } = request;
        let password = self.hash(password, &hashed_password).await?;
        let command = AuthCommand::UserChangePassword { name, password };
        let header = self.change(&head, command).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Answer<pb::AuthUserGrantRoleResponse> {
        let (head, pb::AuthUserGrantRoleRequest { user, role }) = split(request);
        let header = self.change(&head, AuthCommand::UserGrantRole { user, role }).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Answer<pb::AuthUserRevokeRoleResponse> {
        let (head, pb::AuthUserRevokeRoleRequest { name: user, role }) = split(request);
        let header = self.change(&head, AuthCommand::UserRevokeRole { user, role }).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Answer<pb::AuthRoleAddResponse> {
        let (head, pb::AuthRoleAddRequest { name }) = split(request);
        let header = self.change(&head, AuthCommand::RoleAdd { name }).await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Answer<pb::AuthRoleGetResponse> {
        let caller = self.0.caller(&request)?;
        let role = request.into_inner().role;
        self.0.linearize(&caller).await?;
        let asked = role.clone();
        let read = self.0.read(&caller, true, move |context, who| {
            context.reader.permissions_of(who, &asked).map_err(Refusal::from)
        });
        let perm = auth::permission_messages(&role, read.await?);
        Ok(Response::new(pb::AuthRoleGetResponse { header: self.header(), perm }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Answer<pb::AuthRoleListResponse> {
        let caller = self.0.caller(&request)?;
        self.0.linearize(&caller).await?;
        let read = self
            .0
            .read(&caller, true, |context, who| context.reader.roles(who).map_err(Refusal::from));
        let roles = read.await?;
        Ok(Response::new(pb::AuthRoleListResponse { header: self.header(), roles }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Answer<pb::AuthRoleDeleteResponse> {
        let (head, pb::AuthRoleDeleteRequest { role: name }) = split(request);
        let header = self.change(&head, AuthCommand::RoleDelete { name }).await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Answer<pb::AuthRoleGrantPermissionResponse> {
        let (head, pb::AuthRoleGrantPermissionRequest { name: role, perm }) = split(request);
        let permission = auth::permission(perm)?;
        let command = AuthCommand::RoleGrantPermission { role, permission };
        let header = self.change(&head, command).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse { header }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Answer<pb::AuthRoleRevokePermissionResponse> {
        let (head, request) = split(request);
        let pb::AuthRoleRevokePermissionRequest { role, key, range_end } = request;
        let keys = auth::granted_keys(key, range_end);
        let command = AuthCommand::RoleRevokePermission { role, keys };
        let header = self.change(&head, command).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse { header }))
    }
}

impl AuthService {
    /// Sends a change through the log; the header of the answer.
    async fn change<T>(
        &self,
        request: &Request<T>,
        command: AuthCommand,
    ) -> Result<Option<pb::ResponseHeader>, Status>
    where
        T: Sync,
    {
        let caller = self.0.caller(request)?;
        match self.0.propose(&caller, &Command::Auth(command)).await? {
            StoreResponse::Auth => Ok(self.header()),
            other => Err(mismatch(&other)),
        }
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(self.0.stamp().header(self.0.reader.revision()))
    }

    /// The hash of a password; or one that the client has made, as etcd's tools do.
    async fn hash(&self, password: String, hashed: &str) -> Result<PasswordHash, Refusal> {
        if !password.is_empty() || hashed.is_empty() {
            return self.0.passwords.hash(password).await.map_err(of_password);
        }
        let hash =
            BASE64_STANDARD.decode(hashed).ok().and_then(|hash| String::from_utf8(hash).ok());
        match hash.filter(|hash| hash.parse::<bcrypt::HashParts>().is_ok()) {
            Some(hash) => Ok(PasswordHash(Bytes::from(hash))),
            None => Err(Refusal::own(
                Code::InvalidArgument,
                "synod: hashedPassword is not the base64 of a bcrypt hash",
            )),
        }
    }
}

/// The request without its message, and the message.
fn split<T>(request: Request<T>) -> (Request<()>, T) {
    let (metadata, extensions, message) = request.into_parts();
    (Request::from_parts(metadata, extensions, ()), message)
}

fn of_password(error: PasswordError) -> Refusal {
    match error {
        PasswordError::Busy => {
            Refusal::new(EtcdError::TooManyRequests).with_detail(error.to_string())
        }
        // etcd's own words for it.
        PasswordError::TooLong => Refusal::own(Code::Unknown, error.to_string()),
        PasswordError::NoRandomness | PasswordError::Died => refusal::failed(&error),
    }
}

fn new_secret() -> std::io::Result<TokenSecret> {
    let mut secret = [0; 32];
    for chunk in secret.chunks_mut(8) {
        chunk.copy_from_slice(&random()?.to_le_bytes());
    }
    Ok(TokenSecret(secret))
}
