"""Step 5: the verdict decides which clusters go on, and says in plain words why the others don't."""

from domain.brief import ExistingPage
from domain.clustering import Cluster, Clustering, Keyword, Leftover, Spoke, cluster
from domain.keyphrases import Intent
from domain.settings import ClusteringSettings, ValidationSettings
from domain.validation import Validation, validate
from domain.verdict import Blocked, Completed, Level

SETTINGS = ValidationSettings()
CLUSTERING_SETTINGS = ClusteringSettings()


def a_cluster(hub: str, *spokes: str, intent: Intent = Intent.COMMERCIAL) -> Cluster:
    return Cluster(hub=hub, intent=intent, spokes=tuple(Spoke(text=text, similarity=0.5) for text in spokes))


APPROVAL = a_cluster("invoice approval", "invoice approval software", "invoice approval workflow")
PORTAL = a_cluster("supplier portal", "supplier portal software", "supplier portals compared")


def judged(
    *clusters: Cluster, pages: tuple[ExistingPage, ...] = (), **changes: float
) -> Completed[Validation] | Blocked:
    return validate(
        Clustering(clusters=clusters, leftovers=(Leftover(text="zebra", reason="alone"),), method="m", threshold=0.1),
        pages,
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
    again = a_cluster("invoice approval tool", "invoice approval tool online", "an invoice approval tool")
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
