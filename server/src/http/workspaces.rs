//! `PUT /v1/workspaces/{workspace}`: an admin makes a workspace.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};

use super::{Shared, access, body, error};
use crate::auth::Role;
use crate::problem::Problem;

/// 201 if it was made, 204 if it was there.
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let outcome = match path {
        Ok(Path(workspace)) => make(&shared, &workspace, &headers).await,
        Err(_) => Err(Problem::NotFound),
    };
    match outcome {
        Ok(made) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = if made {
                StatusCode::CREATED
            } else {
                StatusCode::NO_CONTENT
            };
            response
        }
        Err(problem) => error::response(&problem, body::answer_form(&headers)),
    }
}

async fn make(shared: &Shared, workspace: &str, headers: &HeaderMap) -> Result<bool, Problem> {
    let access = access(shared, headers, workspace)?;
    shared.rate_of(&access.account, "")?;
    if access.role != Role::Admin {
        return Err(Problem::Forbidden("only an admin makes a workspace"));
    }
    Ok(shared.registry.create(&access.workspace).await?)
}
