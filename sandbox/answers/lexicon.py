"""Closed classes of English words, as far as telling noun phrases from the rest needs them."""


def word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


DETERMINERS = word_set(
    """
    a an the this that these those each every any some no its their our your his her my all both either neither
    another such
    """
)
PREPOSITIONS = word_set(
    """
    of for with without in on at by from to into onto over under between among through during before after
    against across behind beside beyond about around per via within inside outside until since near like as than
    """
)
_OTHER_FUNCTION_WORDS = word_set(
    """
    and or but nor so yet if because although though while when where who whom which what whose why how whether
    once unless is are was were be been being am has have had having do does did doing done can could may might
    must shall should will would not never only also just even still too very more most less least much many few
    several other others own same it they we you i he she them us me him there here then now again already
    always often usually sometimes rather quite almost soon later earlier up down out off away back together
    apart instead else one ones two three four five six seven eight nine ten first second third last next both s
    t don isn doesn aren it's that's there's don't doesn't isn't won't can't you're they're we're nothing nobody
    anyone everyone someone something anything everything
    """
)
FUNCTION_WORDS = DETERMINERS | PREPOSITIONS | _OTHER_FUNCTION_WORDS
# Verbs (and a few adverbs) that would spoil a noun phrase. Words that are nouns as often as verbs are left out.
VERBS = word_set(
    """
    accept accepts accepted add adds added agree agrees agreed allow allows allowed answer answers answered
    appear appears apply applies applied arrive arrives arrived ask asks asked assign assigns assigned attach
    attaches attached avoid avoids avoided become becomes became begin begins began belong belongs bring brings
    brought build builds built buy buys bought call calls called carry carries carried catch catches caught
    cause causes caused charges charged chase chases chased choose chooses chose chosen clear clears cleared
    close closes closed code codes coded collect collects collected come comes came compare compares compared
    connect connects connected contain contains contained cost costs count counts counted cover covers covered
    create creates created cut cuts decide decides decided deliver delivers delivered depend depends describe
    describes described differ differs drop drops dropped earn earns earned enter enters entered expect expects
    expected explain explains explained fail fails failed fall falls fell feed feeds fed feel feels felt find
    finds found finish finishes finished fit fits fix fixes fixed flag flags flagged follow follows followed
    force forces forced forget forgets forgot get gets got give gives gave given go goes went grow grows grew
    handle handles handled happen happens happened help helps helped hide hides hid hidden hold holds held
    import imports imported keep keeps kept know knows knew known lead leads led learn learns learned leave
    leaves left let lets list lists listed live lives lived look looks looked lose loses lost make makes made
    manage manages managed match matches matched mean means meant meet meets met miss misses missed move moves
    moved need needs needed offer offers offered open opens opened owe owes owed own owns owned pass passes
    passed pay pays paid pick picks picked plan plans planned post posts posted prevent prevents prevented print
    prints printed prove proves proved publish publishes published pull pulls pulled push pushes pushed put puts
    raise raises raised reach reaches reached read reads receive receives received recognize recognizes record
    records recorded reduce reduces reduced reject rejects rejected release releases released rely relies remain
    remains remember remind reminds reminded remove removes removed replace replaces replaced report reports
    reported require requires required resolve resolves resolved return returns returned ride rides route routes
    routed run runs ran save saves saved say says said schedule schedules scheduled search see sees saw seen
    sell sells sold send sends sent serve serves served set sets share shares shared ship ships shipped show
    shows showed shown sign signs signed sit sits sat solve solves solved sort sorts sorted speak speaks spend
    spends spent split splits stand stands stood start starts started stay stays stayed stop stops stopped store
    stores stored suit suits suited support supports supported take takes took taken talk talks teach teaches
    tell tells told tend tends tie ties tied track tracks tracked treat treats treated trust trusts try tries
    tried turn turns turned understand use uses used wait waits waited walk walks want wants wanted warn warns
    warned watch watches watched wear wears win wins won work works worked write writes wrote written wrote
    yields succeed succeeds succeeded join joins joined gain gains gained arriving asking being buying chasing
    choosing coming cutting doing finding getting giving going hoping keeping knowing leaving letting looking
    losing making meaning moving needing opening paying putting reaching reading running saving saying sending
    setting showing sitting starting stopping taking telling trying turning typing using waiting wanting working
    writing long well fast late early slowly quickly automatically directly simply easily exactly roughly
    finally mostly enough open ready available able likely sure alone possible different certain true wrong
    clear good bad best better worse worst hard easy full whole half today tomorrow yesterday ago twice once yes
    no please thus hence however therefore meanwhile otherwise besides
    """
)
