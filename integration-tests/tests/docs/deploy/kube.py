"""What only Python libraries can tell of manifests, for kubernetes.rs.

kube.py validate VERSION...   reads YAML documents, holds each against the JSON schemas of these
                              Kubernetes versions, prints them as one JSON list
kube.py render CHART VALUES   what Helm makes of a chart with these values (JSON): {"files": {...}},
                              or {"error": "..."} if it refuses them
kube.py lint CHART            what `helm lint --strict` says, as JSON
"""

import json
import sys

import yaml


def validate(versions):
    import kubernetes_validate

    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    for document in documents:
        for version in versions:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                name = document.get("metadata", {}).get("name")
                sys.exit(f"{document.get('kind')} {name}, Kubernetes {version}: {error}")
    return documents


def render(chart, values):
    import helm_python as helm

    values = json.loads(values)
    with helm.Chart.load(chart) as loaded:
        try:
            loaded.validate_schema(values)
            return {"files": loaded.render(values, name="front", namespace="edge")}
        except helm.HelmError as error:
            return {"error": str(error)}


def lint(chart):
    import helm_python as helm

    return helm.lint(chart, {}, strict=True)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "validate":
        answer = validate(arguments)
    else:
        answer = {"render": render, "lint": lint}[what](*arguments)
    json.dump(answer, sys.stdout)
