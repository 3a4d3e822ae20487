"""Clean articles of two invented companies, whole from passages to documents: what gates must let pass."""

from dataclasses import dataclass
from uuid import UUID, uuid5

from domain.article import (
    ArticlePlan,
    Block,
    BlockKind,
    Outline,
    OutlineSection,
    PlannedCluster,
    SectionContent,
    key_terms,
    plan_articles,
)
from domain.assembly import Document, LinkTarget, assemble, planned_slugs
from domain.brief import Brief, Organization, Voice
from domain.pages import Passage

WORKFLOW_ID = UUID("6a0f2c54-0a58-4f1c-9a35-0d0c4f7f6b11")


@dataclass(frozen=True)
class Sample:
    """An article with everything the gates want to know of it."""

    brief: Brief
    plan: ArticlePlan
    outline: Outline
    contents: tuple[SectionContent, ...]
    passages: tuple[Passage, ...]
    terms: tuple[str, ...]
    targets: tuple[LinkTarget, ...]

    def document(self, contents: tuple[SectionContent, ...] | None = None, outline: Outline | None = None) -> Document:
        return assemble(
            self.brief,
            self.plan,
            outline or self.outline,
            contents or self.contents,
            self.passages,
            self.targets,
            existing_slugs={target.slug for target in self.targets},
            page_titles=PAGE_TITLES,
        )


def paragraph(text: str, *passages: int) -> Block:
    return Block(kind=BlockKind.PARAGRAPH, text=text, passages=passages)


def bullets(text: str, items: tuple[str, ...], *passages: int) -> Block:
    return Block(kind=BlockKind.LIST, text=text, items=items, passages=passages)


def section(*blocks: Block) -> SectionContent:
    return SectionContent(blocks=blocks)


HARBORLINE = Brief(
    organization=Organization(
        name="Harborline",
        url="https://harborline.example",
        description="Harborline automates accounts payable for mid-size distributors: it reads supplier invoices, "
        "matches them against orders and receipts, and sends what does not match to the right person.",
    ),
    audiences=("controllers at mid-size distributors",),
    voice=Voice(tone="plain", banned_phrases=("game changer", "best-in-class")),
)

CRUMBWORKS = Brief(
    organization=Organization(
        name="Crumbworks",
        url="https://crumbworks.example",
        description="Crumbworks plans sourdough production for small bakeries, from starter to shelf, so that the "
        "night shift knows what to mix, when to shape and how much flour to order.",
    ),
    voice=Voice(tone="warm", banned_phrases=("artisan magic",)),
)

PAGE_TITLES = {
    "https://harborline.example/": "Harborline: accounts payable for distributors",
    "https://harborline.example/how-it-works": "How Harborline matches invoices",
    "https://ledgerpilot.example/pricing": "LedgerPilot pricing",
    "https://ledgerpilot.example/three-way-matching": "Three-way matching, explained",
    "https://payloom.example/approvals": "Approval routing in Payloom",
    "https://approvio.example/controls": "Controls auditors ask for",
    "https://crumbworks.example/": "Crumbworks: production planning for bakeries",
    "https://proofline.example/starter": "Keeping a starter on schedule",
    "https://ovenbook.example/planning": "Planning a night's bake",
}

AP_PASSAGES = tuple(
    Passage(number=number, url=url, text=text)
    for number, (url, text) in enumerate(
        [
            (
                "https://harborline.example/",
                "Harborline automates accounts payable for distributors. It reads supplier invoices, matches them "
                "against purchase orders and goods receipts, and routes exceptions to the right approver.",
            ),
            (
                "https://harborline.example/",
                "A controller told us: “We stopped chasing paper on Fridays.” Month-end close now starts with a "
                "clean list of open supplier invoices.",
            ),
            (
                "https://harborline.example/how-it-works",
                "Invoice data capture reads header and line items. Lines that match a purchase order within a "
                "tolerance of 2% are posted without a touch; the rest go to the exception queue.",
            ),
            (
                "https://ledgerpilot.example/pricing",
                "LedgerPilot starts at $499 per month for up to 1,200 supplier invoices, and every plan includes "
                "the approval workflow and an audit trail.",
            ),
            (
                "https://ledgerpilot.example/three-way-matching",
                "Three-way matching compares the purchase order, the goods receipt and the supplier invoice. When "
                "quantity and price agree, the invoice can be paid without further questions.",
            ),
            (
                "https://ledgerpilot.example/three-way-matching",
                "Most mismatches come from partial deliveries, price changes and freight that was not on the "
                "purchase order. A tolerance keeps small differences out of the exception queue.",
            ),
            (
                "https://payloom.example/approvals",
                "An approval workflow sends an invoice to the budget owner first and to finance above a limit, for "
                "example $10,000. Approvers answer from their phone, and reminders go out after 3 days.",
            ),
            (
                "https://payloom.example/approvals",
                "Late approvals are the usual reason for missed early payment discounts. Terms such as 2/10 net 30 "
                "give a discount when the supplier is paid within ten days.",
            ),
            (
                "https://approvio.example/controls",
                "Auditors ask who approved an invoice, when, and on which basis. An audit trail that records each "
                "change answers that, and segregation of duties keeps the person who enters a supplier from paying it.",
            ),
            (
                "https://approvio.example/controls",
                "Duplicate invoices slip in when suppliers send the same bill by post and by mail. Checks on "
                "supplier, amount and invoice number catch most of them before payment.",
            ),
        ],
        start=1,
    )
)

BREAD_PASSAGES = tuple(
    Passage(number=number, url=url, text=text)
    for number, (url, text) in enumerate(
        [
            (
                "https://crumbworks.example/",
                "Crumbworks plans sourdough production for small bakeries. It counts back from the shelf time to the "
                "mix, the bulk fermentation, the shaping and the bake.",
            ),
            (
                "https://crumbworks.example/",
                "Bakers order flour by the week. The production plan shows how much flour each dough needs and warns "
                "when the store falls under two days of baking.",
            ),
            (
                "https://proofline.example/starter",
                "A sourdough starter that is fed every 12 hours at 24 °C peaks about 6 hours after feeding. Cooler "
                "rooms slow it down, so the feeding schedule has to move with the season.",
            ),
            (
                "https://proofline.example/starter",
                "Hold back a little starter from every mix. A spare jar in the fridge keeps the bakery going when "
                "the main starter is used up by mistake.",
            ),
            (
                "https://ovenbook.example/planning",
                "Deck ovens hold a fixed number of loaves, so the oven sets the pace of the night. Plan the bake "
                "first, and let bulk fermentation and shaping follow from the oven's rhythm.",
            ),
            (
                "https://ovenbook.example/planning",
                "Unsold bread costs twice: flour and hours. Bakeries that note what is left at closing time plan the "
                "next production day with less waste.",
            ),
        ],
        start=1,
    )
)

CLUSTERS = (
    PlannedCluster(
        cluster_id=uuid5(WORKFLOW_ID, "ap"),
        hub="accounts payable automation",
        spokes=("three-way matching", "invoice approval workflow"),
    ),
)
BREAD_CLUSTERS = (
    PlannedCluster(cluster_id=uuid5(WORKFLOW_ID, "bread"), hub="sourdough production planning", spokes=()),
)


def _outline(title: str, description: str, *sections: tuple[str, tuple[int, ...]]) -> Outline:
    return Outline(
        title=title,
        meta_description=description,
        sections=tuple(
            OutlineSection(heading=heading, points=(f"What matters about {heading.lower()}",), passages=passages)
            for heading, passages in sections
        ),
    )


HUB_OUTLINE = _outline(
    "Accounts Payable Automation for Distributors",
    "What accounts payable automation does between a supplier invoice and its payment, where it saves work, and what "
    "to settle before you start.",
    ("What it takes off the desk", (1, 3)),
    ("From supplier invoice to posting", (3, 5)),
    ("Exceptions are the real work", (5, 6)),
    ("Approvals that don't wait", (7, 8)),
    ("Controls an auditor can follow", (9, 10)),
    ("What it costs to begin", (4, 1)),
)
HUB_CONTENTS = (
    section(
        paragraph(
            "Accounts payable automation takes over the typing, comparing and forwarding that fill a clerk's "
            "morning. The software reads supplier invoices, holds them against orders and receipts, and passes on "
            "only what needs a decision.",
            1,
        ),
        paragraph(
            "The gain shows at the end of the month. One controller puts it like this: “We stopped chasing paper on "
            "Fridays.” The month-end close begins with a clean list instead of a search.",
            2,
        ),
    ),
    section(
        paragraph(
            "Invoice data capture comes first. It reads the header and every line, so that nobody keys in amounts by "
            "hand. Each line is then held against its purchase order.",
            3,
        ),
        paragraph(
            "Lines within a tolerance of 2% are posted without a touch. Whatever lies outside lands in the exception "
            "queue, with the reason beside it.",
            3,
        ),
    ),
    section(
        paragraph(
            "Clean invoices run by themselves, so people spend their hours on the others. It pays to know where "
            "mismatches come from before buying anything.",
            6,
        ),
        bullets(
            "Three causes come up again and again:",
            (
                "Partial deliveries, where the receipt shows less than was billed.",
                "Price changes that never reached the order.",
                "Freight that nobody had put on the purchase order.",
            ),
            6,
        ),
    ),
    section(
        paragraph(
            "An approval workflow decides who sees an invoice, and in which order. The budget owner answers first, "
            "and finance joins above a limit such as $10,000.",
            7,
        ),
        paragraph(
            "Speed is worth money here. Slow answers cost the early payment discount, and terms like 2/10 net 30 "
            "leave little room for a lost mail.",
            8,
        ),
    ),
    section(
        paragraph(
            "Auditors want to see who said yes, when, and why. An audit trail keeps that record without extra work, "
            "and segregation of duties keeps one person from doing everything alone.",
            9,
        ),
        paragraph(
            "The same rules stop duplicate invoices. Software compares supplier, amount and invoice number before "
            "the payment run, when a stop still costs nothing.",
            10,
        ),
    ),
    section(
        paragraph(
            "Prices follow volume. LedgerPilot, to name one, begins at $499 per month for up to 1,200 supplier "
            "invoices, with the approval steps included.",
            4,
        ),
        paragraph(
            "Count your invoices of an ordinary month, and note how many lines match at once. Those two figures tell "
            "more about the return of accounts payable automation than any brochure.",
            1,
        ),
    ),
)

MATCHING_OUTLINE = _outline(
    "Three-Way Matching Without the Paper Chase",
    "How three-way matching compares order, receipt and invoice, which differences are harmless, and how a tolerance "
    "keeps the queue short.",
    ("Three documents, one question", (5,)),
    ("Why lines disagree", (6,)),
    ("Choosing a tolerance", (3, 6)),
    ("Who looks at the rest", (1, 7)),
)
MATCHING_CONTENTS = (
    section(
        paragraph(
            "Three-way matching asks whether you ordered it, got it and were billed for it correctly. The purchase "
            "order, the goods receipt and the supplier invoice each give a part of the answer.",
            5,
        ),
        paragraph("If quantity and price agree on all of them, the bill may be paid and nobody has to look.", 5),
    ),
    section(
        paragraph(
            "A mismatch is seldom fraud. A truck brings half of the pallets, a list price moves in spring, or the "
            "carrier adds freight that no buyer foresaw.",
            6,
        ),
        bullets(
            "Sort what you find by where it can be mended:",
            (
                "in receiving, by booking partial deliveries on the day;",
                "in purchasing, by keeping prices current;",
                "in the contract, by agreeing who carries the freight.",
            ),
            6,
        ),
    ),
    section(
        paragraph(
            "Cents should not stop a payment run. A tolerance lets small gaps through and keeps them out of the "
            "exception queue; at Harborline it stands at 2% per line.",
            3,
        ),
        paragraph(
            "Start narrow and widen it where the same supplier is off by pennies every week. Write down who decided "
            "that, since an auditor will ask.",
            9,
        ),
    ),
    section(
        paragraph(
            "What still does not match needs a person who knows the order. Route it to the buyer rather than to a "
            "shared mailbox, and show the lines side by side.",
            1,
        ),
        paragraph(
            "Reminders help as well. In Payloom they go out after 3 days, which is soon enough for most payment terms.",
            7,
        ),
    ),
)

APPROVAL_OUTLINE = _outline(
    "An Invoice Approval Workflow People Answer",
    "Build an invoice approval workflow that budget owners answer in time: short routes, clear limits, reminders, and "
    "a record for the audit.",
    ("Keep the route short", (7,)),
    ("Limits that make sense", (7,)),
    ("Discounts lost in the inbox", (8,)),
    ("What the record must show", (9, 10)),
)
APPROVAL_CONTENTS = (
    section(
        paragraph(
            "Every extra stop in an invoice approval workflow adds a day. Ask the budget owner, who knows what was "
            "bought, and bring in finance only where policy demands it. What matched its purchase order needs no "
            "approver at all.",
            7,
        ),
        paragraph("Let people decide on their phone. A yes in the corridor beats a login that waits until Monday.", 7),
    ),
    section(
        paragraph(
            "A limit separates routine from risk. Payloom names $10,000 as an example; yours depends on what an "
            "ordinary order looks like.",
            7,
        ),
        paragraph(
            "Tie limits to roles, never to names. When somebody changes jobs the approval workflow keeps running, "
            "and substitutes are found before the holidays.",
            7,
        ),
    ),
    section(
        paragraph(
            "Suppliers reward quick payers. Under 2/10 net 30 the discount is gone after ten days, and late "
            "approvals are the usual reason that it was missed.",
            8,
        ),
        paragraph(
            "Show approvers what waiting costs. A line with the discount at stake moves more invoices than a red flag.",
            8,
        ),
    ),
    section(
        paragraph(
            "An approval without a record is a rumour. The audit trail names the person, the hour and the basis, and "
            "it notes every later change to the supplier.",
            9,
        ),
        paragraph(
            "Add a check on supplier, amount and invoice number, so that duplicate invoices stop before anybody is "
            "asked to approve them.",
            10,
        ),
    ),
)

BREAD_OUTLINE = _outline(
    "Sourdough Production Planning for Small Bakeries",
    "Plan a night of sourdough backwards from the shelf: oven rhythm, starter feeding, flour orders and what the "
    "leftovers teach you.",
    ("Begin at the oven", (5,)),
    ("A starter that is ready on time", (3, 4)),
    ("Flour for the week", (2,)),
    ("What closing time tells you", (6, 1)),
)
BREAD_CONTENTS = (
    section(
        paragraph(
            "Sourdough production planning begins with the oven, since a deck holds only so many loaves. Fill it "
            "first on paper, and bulk fermentation and shaping fall into place behind it.",
            5,
        ),
        paragraph(
            "Count back from the hour when the shop opens. The mix is the last thing you find, not the first.", 1
        ),
    ),
    section(
        paragraph(
            "A sourdough starter fed every 12 hours at 24 °C is at its best about 6 hours later. In a cold January "
            "bakehouse it takes longer, so move the feeding and not the mix.",
            3,
        ),
        bullets(
            "Two habits save a lost night:",
            ("hold back a little starter from every mix;", "keep a spare jar in the fridge, labelled with the day."),
            4,
        ),
    ),
    section(
        paragraph(
            "The production plan knows how much flour each dough takes. Order by the week, and reorder when the "
            "store would last less than two days of baking.",
            2,
        ),
        paragraph("Write the order on the same sheet as the bake, so that one glance shows both.", 2),
    ),
    section(
        paragraph(
            "Bread that stays on the shelf costs flour and hours. Note what is left at closing time, loaf by loaf, "
            "and plan the next day from that list.",
            6,
        ),
        paragraph(
            "After a few weeks patterns appear: rainy Tuesdays, school holidays, the first warm weekend. "
            "Crumbworks puts them into the plan before the flour is ordered.",
            1,
        ),
    ),
)


def _samples() -> dict[str, Sample]:
    plans = plan_articles(WORKFLOW_ID, CLUSTERS, articles_max=3)
    written = {
        "accounts payable automation": (HUB_OUTLINE, HUB_CONTENTS),
        "three-way matching": (MATCHING_OUTLINE, MATCHING_CONTENTS),
        "invoice approval workflow": (APPROVAL_OUTLINE, APPROVAL_CONTENTS),
    }
    slugs = planned_slugs(plans)
    targets = {
        plan.keyword: LinkTarget(
            article_id=plan.article_id,
            keyword=plan.keyword,
            title=written[plan.keyword][0].title,
            slug=slugs[plan.article_id],
        )
        for plan in plans
    }
    samples = {
        plan.keyword: Sample(
            brief=HARBORLINE,
            plan=plan,
            outline=written[plan.keyword][0],
            contents=written[plan.keyword][1],
            passages=AP_PASSAGES,
            terms=key_terms(plan.keyword, plan.spokes, AP_PASSAGES),
            targets=tuple(target for target in targets.values() if target.keyword != plan.keyword),
        )
        for plan in plans
    }
    bread = plan_articles(WORKFLOW_ID, BREAD_CLUSTERS, articles_max=1)[0]
    samples[bread.keyword] = Sample(
        brief=CRUMBWORKS,
        plan=bread,
        outline=BREAD_OUTLINE,
        contents=BREAD_CONTENTS,
        passages=BREAD_PASSAGES,
        terms=key_terms(bread.keyword, bread.spokes, BREAD_PASSAGES),
        targets=(),
    )
    return samples


SAMPLES = _samples()
HUB = SAMPLES["accounts payable automation"]
