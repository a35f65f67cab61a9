"""/models: the served models, and the models of the repository that are not served."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from emo_serve.api.http.services import services_of
from emo_serve.api.routes.openapi import problem_answers
from emo_serve.api.wire.model_schemas import InputSize, ModelDescription, ModelFailure, ModelList, ModelSummary
from emo_serve.api.wire.schemas import ModelQuery, NoQuery
from emo_serve.engine.registry.catalog import Catalog
from emo_serve.engine.registry.deployment import Deployment

router = APIRouter(prefix="/models", tags=["models"])


@router.head("", include_in_schema=False)
@router.get("", responses=problem_answers(422, 500))
async def list_models(request: Request, _query: Annotated[NoQuery, Query()]) -> ModelList:
    """A summary of every served model, and the models that are not served with the reason."""
    catalog = services_of(request).catalog
    return ModelList(
        models=[_summary(catalog, deployment) for deployment in catalog.all()],
        failures=[ModelFailure(path=path, reason=reason) for path, reason in catalog.failures.items()],
    )


@router.head("/{name}", include_in_schema=False)
@router.get("/{name}", responses=problem_answers(404, 422, 500))
async def describe_model(
    request: Request,
    name: Annotated[str, Path(description="Name of a served model.")],
    query: Annotated[ModelQuery, Query()],
) -> ModelDescription:
    """One model in full: its manifest without the golden pair, and its labels."""
    catalog = services_of(request).catalog
    deployment = catalog.find(name, query.version)
    return ModelDescription(
        versions=list(catalog.versions(name)),
        default=catalog.is_default(deployment),
        ready=deployment.ready,
        labels=list(deployment.labels),
        manifest=deployment.manifest.model_dump(mode="json", exclude={"golden"}, exclude_none=True),
    )


def _summary(catalog: Catalog, deployment: Deployment) -> ModelSummary:
    manifest = deployment.manifest
    return ModelSummary(
        name=manifest.name,
        version=manifest.version,
        task=manifest.task,
        digest=deployment.digest,
        default=catalog.is_default(deployment),
        ready=deployment.ready,
        aliases=catalog.aliases(deployment),
        labels=len(deployment.labels),
        input=InputSize(width=manifest.preprocessing.width, height=manifest.preprocessing.height),
        architecture=manifest.card.architecture,
        metrics=manifest.card.metrics,
        intended_use=manifest.card.intended_use,
    )
