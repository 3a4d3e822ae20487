"""Step 5: the verdict decides which clusters go on, and says in plain words why the others don't."""

import json
import re
import time
from typing import Any

import pytest

from domain.brief import ExistingPage
from domain.clustering import Cluster, Clustering, Keyword, Leftover, Spoke, cluster
from domain.embeddings import unit_vector
from domain.keyphrases import Intent
from domain.pages import Page
from domain.settings import ClusteringSettings, Embeddings, ValidationSettings
from domain.validation import (
    Override,
    TakenBy,
    TakenSubject,
    Validation,
    not_overridable,
    taken_by_pages,
    validate,
)
from domain.verdict import Blocked, Completed, Level

SETTINGS = ValidationSettings()
CLUSTERING_SETTINGS = ClusteringSettings()


def a_cluster(hub: str, *spokes: str, intent: Intent = Intent.COMMERCIAL) -> Cluster:
    return Cluster(hub=hub, intent=intent, spokes=tuple(Spoke(text=text, similarity=0.5) for text in spokes))


APPROVAL = a_cluster("invoice approval", "invoice approval software", "invoice approval workflow")
PORTAL = a_cluster("supplier portal", "supplier portal software", "supplier portals compared")


def judged(
    *clusters: Cluster,
    pages: tuple[ExistingPage, ...] = (),
    taken: tuple[TakenSubject, ...] = (),
    overrides: tuple[Override, ...] = (),
    **changes: float,
) -> Completed[Validation] | Blocked:
    return validate(
        Clustering(clusters=clusters, leftovers=(Leftover(text="zebra", reason="alone"),), method="m", threshold=0.1),
        (*taken, *taken_by_pages(pages, ())),
        overrides,
        settings=SETTINGS.model_copy(update=changes),
        clustering_settings=CLUSTERING_SETTINGS,
    )


def fallen(result: Completed[Validation] | Blocked) -> dict[str, list[str]]:
    validation = Validation.model_validate(result.output) if isinstance(result, Blocked) else result.output
    return {one.hub: [reason.code for reason in one.reasons] for one in validation.clusters if not one.is_valid}


def messages(result: Completed[Validation] | Blocked) -> str:
    return "\n".join(reason.message for reason in result.verdict.reasons)


def test_good_clusters_go_on() -> None:
    result = judged(APPROVAL, PORTAL)
    assert isinstance(result, Completed)
    assert result.verdict.level is Level.PASS
    assert [one.hub for one in result.output.clusters] == ["invoice approval", "supplier portal"]
    assert all(one.is_valid and not one.reasons for one in result.output.clusters)
    assert result.verdict.values["coherence_min"] == SETTINGS.coherence_min


def test_of_two_hubs_that_mean_the_same_the_weaker_falls() -> None:
    again = a_cluster("invoice approvals", "invoice approvals online", "fast invoice approvals")
    result = judged(APPROVAL, again, PORTAL)
    assert fallen(result) == {"invoice approvals": ["CANNIBALIZATION"]}
    assert '"invoice approvals" falls, means the same as "invoice approval"' in messages(result)
    assert result.verdict.level is Level.WARN
    swapped = judged(again, APPROVAL)
    assert fallen(swapped) == {"invoice approval": ["CANNIBALIZATION"]}


def test_the_same_words_in_another_order_mean_the_same() -> None:
    turned = a_cluster("approval of invoices", "approval of invoices online", "approval of invoices by phone")
    assert fallen(judged(APPROVAL, turned, cannibalization_similarity_max=1.0)) == {
        "approval of invoices": ["CANNIBALIZATION"]
    }


def test_a_fallen_hub_takes_no_other_down() -> None:
    page = ExistingPage(url="https://harborline.example/ap", keyword="Invoice Approvals")
    again = a_cluster("invoice matching", "invoice matching tool", "invoice matching online")
    result = judged(APPROVAL, again, pages=(page,))
    assert fallen(result) == {"invoice approval": ["EXISTING_PAGE"]}
    assert "your page https://harborline.example/ap is about it already" in messages(result)


def test_other_intents_do_not_cannibalize() -> None:
    learning = a_cluster(
        "how to do invoice approval", "how to do invoice approval online", "how to do invoice approval well",
        intent=Intent.INFORMATIONAL,
    )  # fmt: skip
    assert fallen(judged(APPROVAL, learning)) == {}


def test_a_spoke_too_far_from_its_hub_fells_the_cluster() -> None:
    loose = a_cluster("invoice approval", "invoice approval software", "zebra crossing")
    result = judged(loose, PORTAL)
    assert "SPOKE_TOO_FAR" in fallen(result)["invoice approval"]
    assert '"zebra crossing" is too far from it (0.00, at least 0.08)' in messages(result)


def test_a_loose_cluster_falls() -> None:
    result = judged(APPROVAL, PORTAL, coherence_min=0.99)
    assert isinstance(result, Blocked)
    assert fallen(result)["supplier portal"] == ["CLUSTER_INCOHERENT"]


def test_size_is_checked() -> None:
    small = a_cluster("invoice approval", "invoice approval software")
    large = a_cluster("supplier portal", *(f"supplier portal {number}" for number in range(13)))
    result = judged(small, large)
    assert fallen(result) == {"invoice approval": ["CLUSTER_SIZE"], "supplier portal": ["CLUSTER_SIZE"]}


def test_no_valid_cluster_blocks_and_says_why() -> None:
    result = judged(a_cluster("invoice approval", "invoice approval software"))
    assert isinstance(result, Blocked)
    assert result.verdict.reasons[0].code == "VALIDATION_FAILED"
    assert "has 1 spoke (2 to 12 are needed)" in messages(result)
    assert result.output is not None
    nothing = judged()
    assert isinstance(nothing, Blocked)
    assert "there is no cluster" in messages(nothing)


def test_what_clustering_draws_passes_by_the_same_similarity() -> None:
    keywords = [
        Keyword(text=text, volume=volume)
        for text, volume in [
            ("invoice approval", 900), ("invoice approval workflow", 300), ("invoice approval software", 500),
            ("invoice approval process", 200), ("approval limits", 20), ("supplier portal", 400),
            ("supplier portal software", 90), ("supplier self-service portal", 30), ("payment fraud prevention", 80),
            ("payment fraud", 40), ("payment approval", 10), ("zebra crossing", 7),
        ]
    ]  # fmt: skip
    clustering = cluster(keywords, CLUSTERING_SETTINGS)
    assert isinstance(clustering, Completed)
    result = validate(clustering.output, (), settings=SETTINGS, clustering_settings=CLUSTERING_SETTINGS)
    assert isinstance(result, Completed)
    assert len(result.output.clusters) >= 3
    assert fallen(result) == {}


def test_a_stored_clustering_is_judged_the_same_again() -> None:
    clustering = Clustering(clusters=(APPROVAL, PORTAL), leftovers=(), method="m", threshold=0.1)
    again = Clustering.model_validate_json(clustering.model_dump_json())
    first, second = (
        validate(one, (), settings=SETTINGS, clustering_settings=CLUSTERING_SETTINGS) for one in (clustering, again)
    )
    assert first == second


# What the organization has already


def taken(text: str, *, by: TakenBy = TakenBy.WORKFLOW, place: str = "spring", **facts: Any) -> TakenSubject:
    return TakenSubject(by=by, text=text, place=place, intent=facts.pop("intent", Intent.COMMERCIAL), **facts)


def test_a_hub_that_another_workflow_has_falls_and_names_it() -> None:
    result = judged(APPROVAL, PORTAL, taken=(taken("invoice approvals"), taken("zebra stripes", place="autumn")))
    assert fallen(result) == {"invoice approval": ["CANNIBALIZES_WORKFLOW"]}
    assert 'your workflow spring has "invoice approvals" already' in messages(result)
    assert result.verdict.values["compared"] == 2


def test_another_workflows_hub_of_another_intent_is_another_article() -> None:
    learning = taken("invoice approval methods", intent=Intent.INFORMATIONAL)
    assert fallen(judged(APPROVAL, taken=(learning,), cannibalization_similarity_max=0.1)) == {}
    same = taken("invoice approval methods")
    assert fallen(judged(APPROVAL, taken=(same,), cannibalization_similarity_max=0.1)) != {}


def test_how_alike_they_are_is_said() -> None:
    result = judged(APPROVAL, PORTAL, taken=(taken("invoice approval tool"),), cannibalization_similarity_max=0.5)
    assert re.search(r'has "invoice approval tool" already \(similarity 0\.\d\d\)', messages(result))


@pytest.mark.parametrize(
    ("title", "heading", "path"),
    [
        ("Invoice approvals | Harborline", "x", "/a"),
        ("Harborline – Invoice Approval", "x", "/a"),
        ("Harborline", "Approval of invoices", "/a"),
        ("Harborline", "x", "/guides/invoice-approval.html"),
        ("Harborline", "x", "/invoice_approvals/"),
        ("Harborline", "x", "/invoice%20approval"),
    ],
)
def test_a_page_of_the_own_site_is_known_by_title_heading_and_address(title: str, heading: str, path: str) -> None:
    page = Page(url=f"https://harborline.example{path}", title=title, headings=(heading,), passages=(), content_text="")
    subjects = taken_by_pages((), (page,), brands=("Harborline",))
    result = judged(APPROVAL, PORTAL, taken=subjects)
    assert fallen(result) == {"invoice approval": ["OWN_SITE_PAGE"]}
    assert page.url in messages(result)


def test_the_home_page_only_warns_and_the_brand_is_no_subject() -> None:
    home = Page(
        url="https://harborline.example/",
        title="Harborline | Invoice approval",
        headings=(),
        passages=(),
        content_text="",
    )
    subjects = taken_by_pages((), (home,), brands=("Harborline", "harborline.example"))
    assert "Harborline" not in [one.text for one in subjects]
    result = judged(APPROVAL, taken=subjects)
    assert isinstance(result, Completed)
    assert [reason.code for reason in result.verdict.reasons] == ["HOME_PAGE_TOO"]


def test_an_existing_page_counts_by_meaning_too() -> None:
    page = ExistingPage(url="https://harborline.example/ap", keyword="invoice approval tool")
    assert fallen(judged(APPROVAL, PORTAL, pages=(page,), cannibalization_similarity_max=0.5)) == {
        "invoice approval": ["EXISTING_PAGE"]
    }


def test_a_text_without_a_vector_is_compared_by_its_letters() -> None:
    settings = CLUSTERING_SETTINGS.model_copy(update={"embeddings": Embeddings.LOCAL, "embedding_model": "m"})
    texts = [APPROVAL.hub, *(spoke.text for spoke in APPROVAL.spokes)]
    vectors = {text: unit_vector([1.0, number / 10, 0.2]) for number, text in enumerate(texts)}
    facts = (taken("invoice approvals online"), taken("paying bills faster"))
    clustering = Clustering(clusters=(APPROVAL,), leftovers=(), method="m", threshold=0.1)
    letters = validate(
        clustering, facts, settings=SETTINGS.model_copy(update={"cannibalization_letters_max": 0.5}),
        clustering_settings=settings, vectors=vectors,
    )  # fmt: skip
    assert fallen(letters)["invoice approval"] == ["CANNIBALIZES_WORKFLOW"]
    near = vectors | {"paying bills faster": vectors[APPROVAL.hub]}
    meant = validate(clustering, facts[1:], settings=SETTINGS, clustering_settings=settings, vectors=near)
    far = vectors | {"paying bills faster": unit_vector([-1.0, 0.0, 0.0])}
    other = validate(clustering, facts[1:], settings=SETTINGS, clustering_settings=settings, vectors=far)
    assert fallen(meant).get("invoice approval") == ["CANNIBALIZES_WORKFLOW"]
    assert "CANNIBALIZES_WORKFLOW" not in fallen(other).get("invoice approval", [])


# Overriding


def override_of(*reasons: tuple[str, str | None], hub: str = "invoice approval") -> Override:
    return Override(hub=hub, actor="ada", reason="another audience", set_aside=reasons)


def test_an_overridden_cluster_goes_on_and_says_by_whom_and_why() -> None:
    shown = judged(APPROVAL, taken=(taken("invoice approvals"),))
    assert isinstance(shown, Blocked)
    reasons = Validation.model_validate(shown.output).clusters[0].reasons
    aside = override_of(*((reason.code, reason.subject) for reason in reasons))
    result = judged(APPROVAL, taken=(taken("invoice approvals"),), overrides=(aside,))
    assert isinstance(result, Completed)
    assert result.verdict.level is Level.WARN
    assert "overridden by ada: another audience" in messages(result)
    assert {reason.level for reason in result.output.clusters[0].reasons} == {Level.WARN}


def test_only_what_was_shown_is_set_aside() -> None:
    aside = override_of(("CANNIBALIZES_WORKFLOW", "spring: invoice approvals"))
    known, new = taken("invoice approvals"), taken("approval of invoices", place="autumn")
    assert fallen(judged(APPROVAL, PORTAL, taken=(known,), overrides=(aside,))) == {}
    assert fallen(judged(APPROVAL, PORTAL, taken=(known, new), overrides=(aside,))) != {}
    assert fallen(judged(APPROVAL, PORTAL, taken=(known,), overrides=(override_of(),))) != {}


def test_a_size_can_not_be_overridden() -> None:
    small = a_cluster("invoice approval", "invoice approval software")
    result = judged(small, overrides=(override_of(("CLUSTER_SIZE", "invoice approval")),))
    assert isinstance(result, Blocked)
    (cluster_of_it,) = Validation.model_validate(result.output).clusters
    assert [one.code for one in not_overridable(cluster_of_it.reasons)] == ["CLUSTER_SIZE"]


def test_an_overridden_cluster_takes_its_subject_from_the_later_ones() -> None:
    again = a_cluster("invoice approvals", "invoice approvals online", "fast invoice approvals")
    aside = override_of(("CANNIBALIZES_WORKFLOW", "spring: approval of invoices"))
    result = judged(APPROVAL, again, PORTAL, taken=(taken("approval of invoices"),), overrides=(aside,))
    assert set(fallen(result)) == {"invoice approvals"}
    assert "CANNIBALIZATION" in fallen(result)["invoice approvals"]


def test_the_verdict_can_be_computed_again_from_what_it_stores() -> None:
    facts = (taken("invoice approvals"), taken("supplier portals", place="autumn", intent=Intent.NAVIGATIONAL))
    result = judged(APPROVAL, PORTAL, taken=facts, overrides=(override_of(("CANNIBALIZES_WORKFLOW", "x")),))
    assert isinstance(result, Blocked)
    stored = Validation.model_validate(json.loads(json.dumps(result.output)))
    again = judged(APPROVAL, PORTAL, taken=stored.taken, overrides=stored.overrides)
    assert again == result


def test_thousands_of_subjects_are_compared_in_seconds() -> None:
    facts = tuple(taken(f"subject number {number} of many", place=f"w{number // 50}") for number in range(3_500))
    started = time.process_time()
    result = judged(APPROVAL, PORTAL, taken=(*facts, taken("invoice approvals")))
    assert time.process_time() - started < 20
    values = result.verdict.values
    assert (values["compared"], values["not_compared"]) == (3_000, 501), "bounded, and said so"
