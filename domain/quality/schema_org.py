"""The part of schema.org's vocabulary that the pages of articles use: names of types, and the properties of some.

Facts of the public vocabulary, in three tables. ``TYPE_NAMES`` holds every type. ``PARENTS`` and ``PROPERTIES`` hold
the types that stand on the pages of articles: a property with the types its values may have, own properties only.
``tests/judges/test_vocabulary.py`` compares all of it with a published rendering of the vocabulary.
"""

from functools import cache

_TYPE_NAMES_TEXT = (
    "3DModel AMRadioChannel APIReference AboutPage AcceptAction Accommodation AccountingService AchieveAction "
    "Action ActionAccessSpecification ActionStatusType ActivateAction AddAction AdministrativeArea "
    "AdultEntertainment AdultOrientedEnumeration AdvertiserContentArticle AggregateOffer AggregateRating "
    "AgreeAction Airline Airport AlignmentObject AllocateAction AmpStory AmusementPark AnalysisNewsArticle "
    "AnatomicalStructure AnatomicalSystem AnimalShelter Answer Apartment ApartmentComplex AppendAction ApplyAction "
    "ApprovedIndication Aquarium ArchiveComponent ArchiveOrganization ArriveAction ArtGallery Artery Article "
    "AskAction AskPublicNewsArticle AssessAction AssignAction Atlas Attorney Audience AudioObject "
    "AudioObjectSnapshot Audiobook Audiology AuthenticateAction AuthorizeAction AutoBodyShop AutoDealer "
    "AutoPartsStore AutoRental AutoRepair AutoWash AutomatedTeller AutomotiveBusiness BackgroundNewsArticle Bakery "
    "BankAccount BankOrCreditUnion BarOrPub Barcode Beach BeautySalon BedAndBreakfast BedDetails BedType "
    "BefriendAction BikeStore BioChemEntity Blog BlogPosting BloodTest BoardingPolicyType BoatReservation "
    "BoatTerminal BoatTrip BodyMeasurementTypeEnumeration BodyOfWater Bone Book BookFormatType BookSeries "
    "BookStore BookmarkAction BorrowAction BowlingAlley BrainStructure Brand BreadcrumbList Brewery Bridge "
    "BroadcastChannel BroadcastEvent BroadcastFrequencySpecification BroadcastService BrokerageAccount "
    "BuddhistTemple BusOrCoach BusReservation BusStation BusStop BusTrip BusinessAudience BusinessEntityType "
    "BusinessEvent BusinessFunction BuyAction CDCPMDRecord CableOrSatelliteService CafeOrCoffeeShop Campground "
    "CampingPitch Canal CancelAction Car CarUsageType Casino CategoryCode CategoryCodeSet CatholicChurch Cemetery "
    "Certification CertificationStatusEnumeration Chapter CheckAction CheckInAction CheckOutAction CheckoutPage "
    "ChemicalSubstance ChildCare ChildrensEvent ChooseAction Church City CityHall CivicStructure Claim ClaimReview "
    "Class Clip ClothingStore Code Collection CollectionPage CollegeOrUniversity ComedyClub ComedyEvent "
    "ComicCoverArt ComicIssue ComicSeries ComicStory Comment CommentAction CommunicateAction CommunityHealth "
    "CompleteDataFeed CompoundPriceSpecification ComputerLanguage ComputerStore ConferenceEvent ConfirmAction "
    "Consortium ConstraintNode ConsumeAction ContactPage ContactPoint ContactPointOption Continent ControlAction "
    "ConvenienceStore Conversation CookAction Cooperative Corporation CorrectionComment Country Course "
    "CourseInstance Courthouse CoverArt CovidTestingFacility CreateAction CreativeWork CreativeWorkSeason "
    "CreativeWorkSeries Credential CreditCard Crematorium CriticReview CurrencyConversionService DDxElement "
    "DENonprofitType DanceEvent DanceGroup DataCatalog DataDownload DataFeed DataFeedItem Dataset "
    "DatedMoneySpecification DayOfWeek DaySpa DeactivateAction DeclarationOfConformity DefenceEstablishment "
    "DefinedRegion DefinedTerm DefinedTermSet DeleteAction DeliveryChargeSpecification DeliveryEvent "
    "DeliveryMethod DeliveryTimeSettings Demand Dentist DepartAction DepartmentStore DepositAccount Dermatology "
    "DiagnosticLab DiagnosticProcedure Diet DietNutrition DietarySupplement DigitalDocument "
    "DigitalDocumentPermission DigitalDocumentPermissionType DigitalPlatformEnumeration DigitalProductPassport "
    "DisagreeAction DiscoverAction DiscussionForumPosting DislikeAction Distillery DonateAction DoseSchedule "
    "DownloadAction DrawAction Drawing DrinkAction DriveWheelConfigurationValue Drug DrugClass DrugCost "
    "DrugCostCategory DrugLegalStatus DrugPregnancyCategory DrugPrescriptionStatus DrugStrength "
    "DryCleaningOrLaundry EUEnergyEfficiencyEnumeration EatAction EducationEvent EducationalAudience "
    "EducationalOccupationalCredential EducationalOccupationalProgram EducationalOrganization Electrician "
    "ElectronicsStore ElementarySchool EmailMessage Embassy Emergency EmergencyService EmployeeRole "
    "EmployerAggregateRating EmployerReview EmploymentAgency EndorseAction EndorsementRating "
    "EnergyConsumptionDetails EnergyEfficiencyEnumeration EnergyStarEnergyEfficiencyEnumeration "
    "EngineSpecification EntertainmentBusiness EntryPoint Enumeration EnvironmentalProductDeclaration Episode "
    "Error Event EventAttendanceModeEnumeration EventReservation EventSeries EventStatusType EventVenue "
    "ExchangeRateSpecification ExerciseAction ExerciseGym ExercisePlan ExhibitionEvent FAQPage FMRadioChannel "
    "FastFoodRestaurant Festival FilmAction FinancialIncentive FinancialProduct FinancialService FindAction "
    "FireStation Flight FlightReservation FloorPlan Florist FollowAction FoodEstablishment "
    "FoodEstablishmentReservation FoodEvent FoodService FulfillmentTypeEnumeration FundingAgency FundingScheme "
    "FurnitureStore Game GameAvailabilityEnumeration GamePlayMode GameServer GameServerStatus GardenStore "
    "GasStation GatedResidenceCommunity GenderType Gene GeneralContractor GeoCircle GeoCoordinates GeoShape "
    "GeospatialGeometry Geriatric GiveAction GolfCourse GovernmentBenefitsType GovernmentBuilding GovernmentOffice "
    "GovernmentOrganization GovernmentPermit GovernmentService Grant GroceryStore Guide Gynecologic HVACBusiness "
    "Hackathon HairSalon HardwareStore HealthAndBeautyBusiness HealthAspectEnumeration HealthClub "
    "HealthInsurancePlan HealthPlanCostSharingSpecification HealthPlanFormulary HealthPlanNetwork "
    "HealthTopicContent HighSchool HinduTemple HobbyShop HomeAndConstructionBusiness HomeGoodsStore Hospital "
    "Hostel Hotel HotelRoom House HousePainter HowTo HowToDirection HowToItem HowToSection HowToStep HowToSupply "
    "HowToTip HowToTool HyperToc HyperTocEntry IPTCDigitalSourceEnumeration ITNonprofitType IceCreamShop "
    "IgnoreAction ImageGallery ImageObject ImageObjectSnapshot ImagingTest IncentiveQualifiedExpenseType "
    "IncentiveStatus IncentiveType IndividualPhysician IndividualProduct InfectiousAgentClass InfectiousDisease "
    "InformAction InsertAction InstallAction InstantaneousEvent InsuranceAgency Intangible InteractAction "
    "InteractionCounter InternetCafe InvestmentFund InvestmentOrDeposit InviteAction Invoice ItemAvailability "
    "ItemList ItemListOrderType ItemPage JewelryStore JobPosting JoinAction Joint LakeBodyOfWater Landform "
    "LandmarksOrHistoricalBuildings Language LearningResource LeaveAction LegalForceStatus LegalService "
    "LegalValueLevel Legislation LegislationObject LegislativeBuilding LendAction Library LibrarySystem "
    "LifestyleModification Ligament LikeAction LinkRole LiquorStore ListItem ListenAction LiteraryEvent "
    "LiveBlogPosting LoanOrCredit LocalBusiness LocationFeatureSpecification Locksmith LodgingBusiness "
    "LodgingReservation LoginAction LoseAction LymphaticVessel Manuscript Map MapCategoryType MarryAction "
    "MathSolver MaximumDoseSchedule MeasurementMethodEnum MeasurementTypeEnumeration MediaEnumeration MediaGallery "
    "MediaManipulationRatingEnumeration MediaObject MediaReview MediaReviewItem MediaSubscription MedicalAudience "
    "MedicalAudienceType MedicalBusiness MedicalCause MedicalClinic MedicalCode MedicalCondition "
    "MedicalConditionStage MedicalContraindication MedicalDevice MedicalDevicePurpose MedicalEntity "
    "MedicalEnumeration MedicalEvidenceLevel MedicalGuideline MedicalGuidelineContraindication "
    "MedicalGuidelineRecommendation MedicalImagingTechnique MedicalIndication MedicalIntangible "
    "MedicalObservationalStudy MedicalObservationalStudyDesign MedicalOrganization MedicalProcedure "
    "MedicalProcedureType MedicalRiskCalculator MedicalRiskEstimator MedicalRiskFactor MedicalRiskScore "
    "MedicalScholarlyArticle MedicalSign MedicalSignOrSymptom MedicalSpecialty MedicalStudy MedicalStudyStatus "
    "MedicalSymptom MedicalTest MedicalTestPanel MedicalTherapy MedicalTrial MedicalTrialDesign MedicalWebPage "
    "MedicineSystem MeetingRoom MemberProgram MemberProgramTier MensClothingStore Menu MenuItem MenuSection "
    "MerchantReturnEnumeration MerchantReturnPolicy MerchantReturnPolicySeasonalOverride Message MiddleSchool "
    "Midwifery MobileApplication MobilePhoneStore MolecularEntity MonetaryAmount MonetaryAmountDistribution "
    "MonetaryGrant MoneyTransfer MortgageLoan Mosque Motel Motorcycle MotorcycleDealer MotorcycleRepair "
    "MotorizedBicycle Mountain MoveAction Movie MovieClip MovieRentalStore MovieSeries MovieTheater MovingCompany "
    "Muscle Museum MusicAlbum MusicAlbumProductionType MusicAlbumReleaseType MusicComposition MusicEvent "
    "MusicGroup MusicPlaylist MusicRecording MusicRelease MusicReleaseFormatType MusicStore MusicVenue "
    "MusicVideoObject NGO NLNonprofitType NailSalon Nerve NewsArticle NewsMediaOrganization Newspaper NightClub "
    "NonprofitType Notary NoteDigitalDocument Nursing NutritionInformation Observation Obstetric Occupation "
    "OccupationalExperienceRequirements OccupationalTherapy OceanBodyOfWater Offer OfferCatalog OfferForLease "
    "OfferForPurchase OfferItemCondition OfferShippingDetails OfficeEquipmentStore OnDemandEvent Oncologic "
    "OnlineBusiness OnlineMarketplace OnlineStore OpeningHoursSpecification OperatingSystem Ophthalmology "
    "OpinionNewsArticle Optician Optometric Order OrderAction OrderItem OrderStatus Organization OrganizationRole "
    "OrganizeAction Otolaryngologic OutletStore OwnershipInfo PaintAction Painting PalliativeProcedure "
    "ParcelDelivery ParentAudience Park ParkingFacility PathologyTest Patient PawnShop PayAction PaymentCard "
    "PaymentChargeSpecification PaymentMethod PaymentMethodType PaymentService PaymentStatusType Pediatric "
    "PeopleAudience PerformAction PerformanceRole PerformingArtsEvent PerformingArtsTheater PerformingGroup "
    "Periodical Permit Person PetStore Pharmacy Photograph PhotographAction PhysicalActivity "
    "PhysicalActivityCategory PhysicalExam PhysicalTherapy Physician PhysiciansOffice Physiotherapy Place "
    "PlaceOfWorship PlanAction PlasticSurgery Play PlayAction PlayGameAction Playground Plumber PodcastEpisode "
    "PodcastSeason PodcastSeries Podiatric PoliceStation PoliticalParty Pond PostOffice PostalAddress "
    "PostalCodeRangeSpecification Poster PreOrderAction PrependAction Preschool PresentationDigitalDocument "
    "PreventionIndication PriceComponentTypeEnumeration PriceSpecification PriceTypeEnumeration PrimaryCare "
    "Product ProductCollection ProductGroup ProductModel ProductReturnEnumeration ProductReturnPolicy "
    "ProfessionalService ProfilePage ProgramMembership Project Property PropertyValue PropertyValueSpecification "
    "Protein Psychiatric PsychologicalTreatment PublicHealth PublicSwimmingPool PublicToilet PublicationEvent "
    "PublicationIssue PublicationVolume PurchaseType QAPage QualitativeValue QuantitativeValue "
    "QuantitativeValueDistribution Question Quiz Quotation QuoteAction RVPark RadiationTherapy "
    "RadioBroadcastService RadioChannel RadioClip RadioEpisode RadioSeason RadioSeries RadioStation Rating "
    "ReactAction ReadAction RealEstateAgent RealEstateListing ReceiveAction Recipe Recommendation "
    "RecommendedDoseSchedule RecyclingCenter RefundTypeEnumeration RegisterAction RejectAction RentAction "
    "RentalCarReservation RepaymentSpecification ReplaceAction ReplyAction Report ReportageNewsArticle "
    "ReportedDoseSchedule ResearchOrganization ResearchProject Researcher Reservation ReservationPackage "
    "ReservationStatusType ReserveAction Reservoir ResetPasswordAction Residence Resort RespiratoryTherapy "
    "Restaurant RestrictedDiet ResumeAction ReturnAction ReturnFeesEnumeration ReturnLabelSourceEnumeration "
    "ReturnMethodEnumeration Review ReviewAction ReviewNewsArticle RiverBodyOfWater Role RoofingContractor Room "
    "RsvpAction RsvpResponseType RuntimePlatform SaleEvent SatiricalArticle Schedule ScheduleAction "
    "ScholarlyArticle School SchoolDistrict ScreeningEvent Sculpture SeaBodyOfWater SearchAction "
    "SearchRescueOrganization SearchResultsPage Season Seat SeekToAction SelfStorage SellAction SendAction "
    "SequentialArt Series Service ServiceChannel ServicePeriod ShareAction SheetMusic ShippingConditions "
    "ShippingDeliveryTime ShippingRateSettings ShippingService ShoeStore ShoppingCenter ShortStory "
    "SingleFamilyResidence SiteNavigationElement SizeGroupEnumeration SizeSpecification SizeSystemEnumeration "
    "SkiResort SocialEvent SocialMediaPosting SoftwareApplication SoftwareSourceCode SolveMathAction SomeProducts "
    "SpeakableSpecification SpecialAnnouncement Specialty SportingGoodsStore SportsActivityLocation SportsClub "
    "SportsEvent SportsOrganization SportsTeam SpreadsheetDigitalDocument StadiumOrArena State Statement "
    "StatisticalPopulation StatisticalVariable StatusEnumeration SteeringPositionValue Store StructuredValue "
    "StupidType SubscribeAction Substance SubwayStation Suite SuperficialAnatomy SurgicalProcedure SuspendAction "
    "Syllabus Synagogue TVClip TVEpisode TVSeason TVSeries Table TakeAction TattooParlor Taxi TaxiReservation "
    "TaxiService TaxiStand Taxon TechArticle TelevisionChannel TelevisionStation TennisComplex TextDigitalDocument "
    "TextObject TheaterEvent TheaterGroup TherapeuticProcedure Thesis Thing Ticket TieAction "
    "TierBenefitEnumeration TipAction TireShop TouristAttraction TouristDestination TouristInformationCenter "
    "TouristTrip ToyStore TrackAction TradeAction TrainReservation TrainStation TrainTrip TransferAction "
    "TravelAction TravelAgency TreatmentIndication Trip TypeAndQuantityNode UKNonprofitType USNonprofitType "
    "UnRegisterAction UnitPriceSpecification UpdateAction UseAction UserBlocks UserCheckins UserComments "
    "UserDownloads UserInteraction UserLikes UserPageVisits UserPlays UserPlusOnes UserReview UserTweets "
    "VacationRental Vehicle Vein Vessel VeterinaryCare VideoGallery VideoGame VideoGameClip VideoGameSeries "
    "VideoObject VideoObjectSnapshot ViewAction VirtualLocation VisualArtsEvent VisualArtwork VitalSign Volcano "
    "VoteAction WPAdBlock WPFooter WPHeader WPSideBar WantAction WarrantyPromise WarrantyScope WatchAction "
    "Waterfall WearAction WearableMeasurementTypeEnumeration WearableSizeGroupEnumeration "
    "WearableSizeSystemEnumeration WebAPI WebApplication WebContent WebPage WebPageElement WebSite WholesaleStore "
    "WinAction Winery WorkBasedProgram WorkersUnion WriteAction Zoo"
)
TYPE_NAMES = frozenset(_TYPE_NAMES_TEXT.split())

# Type: types it inherits from; those that only order the vocabulary (Intangible, StructuredValue) are left out.
PARENTS: dict[str, tuple[str, ...]] = {
    "Thing": (),
    "CreativeWork": ("Thing",),
    "Article": ("CreativeWork",),
    "SocialMediaPosting": ("Article",),
    "BlogPosting": ("SocialMediaPosting",),
    "NewsArticle": ("Article",),
    "TechArticle": ("Article",),
    "Report": ("Article",),
    "ScholarlyArticle": ("Article",),
    "LiveBlogPosting": ("SocialMediaPosting",),
    "Blog": ("CreativeWork",),
    "WebPage": ("CreativeWork",),
    "WebSite": ("CreativeWork",),
    "WebPageElement": ("CreativeWork",),
    "FAQPage": ("WebPage",),
    "ProfilePage": ("WebPage",),
    "CollectionPage": ("WebPage",),
    "AboutPage": ("WebPage",),
    "ContactPage": ("WebPage",),
    "QAPage": ("WebPage",),
    "Comment": ("CreativeWork",),
    "Question": ("Comment",),
    "Answer": ("Comment",),
    "Claim": ("CreativeWork",),
    "Quotation": ("CreativeWork",),
    "MediaObject": ("CreativeWork",),
    "ImageObject": ("MediaObject",),
    "VideoObject": ("MediaObject",),
    "Organization": ("Thing",),
    "NewsMediaOrganization": ("Organization",),
    "Person": ("Thing",),
    "ItemList": ("Thing",),
    "BreadcrumbList": ("ItemList",),
    "ListItem": ("Thing",),
    "ContactPoint": ("Thing",),
    "PostalAddress": ("ContactPoint",),
    "PropertyValue": ("Thing",),
    "EntryPoint": ("Thing",),
    "Action": ("Thing",),
    "SearchAction": ("Action",),
    "SpeakableSpecification": ("Thing",),
    "InteractionCounter": ("Thing",),
    "DefinedTerm": ("Thing",),
    "DefinedTermSet": ("CreativeWork",),
    "Rating": ("Thing",),
    "AggregateRating": ("Rating",),
}

# Type: "property=Type/Type …".
_PROPERTIES_TEXT: dict[str, str] = {
    "Thing": (
        "additionalType=Text/URL alternateName=Text description=Text/TextObject disambiguatingDescription=Text "
        "identifier=PropertyValue/Text/URL image=ImageObject/URL mainEntityOfPage=CreativeWork/URL name=Text "
        "owner=Organization/Person potentialAction=Action sameAs=URL subjectOf=CreativeWork/Event url=URL"
    ),
    "CreativeWork": (
        "about=Thing abstract=Text accessMode=Text accessModeSufficient=ItemList accessibilityAPI=Text "
        "accessibilityControl=Text accessibilityFeature=Text accessibilityHazard=Text accessibilitySummary=Text "
        "accountablePerson=Person acquireLicensePage=CreativeWork/URL aggregateRating=AggregateRating "
        "alternativeHeadline=Text archivedAt=URL/WebPage assesses=DefinedTerm/Text associatedMedia=MediaObject "
        "audience=Audience audio=AudioObject/Clip/MusicRecording author=Organization/Person award=Text awards=Text "
        "character=Person citation=CreativeWork/Text comment=Comment commentCount=Integer conditionsOfAccess=Text "
        "contentLocation=Place contentRating=Rating/Text contentReferenceTime=DateTime "
        "contributor=Organization/Person copyrightHolder=Organization/Person copyrightNotice=Text "
        "copyrightYear=Number correction=CorrectionComment/Text/URL countryOfOrigin=Country "
        "creativeWorkStatus=DefinedTerm/Text creator=Organization/Person creditText=Text dateCreated=Date/DateTime "
        "dateModified=Date/DateTime datePublished=Date/DateTime digitalSourceType=IPTCDigitalSourceEnumeration "
        "discussionUrl=URL displayLocation=Place editEIDR=Text/URL editor=Person "
        "educationalAlignment=AlignmentObject educationalLevel=DefinedTerm/Text/URL "
        "educationalUse=DefinedTerm/Text encoding=MediaObject encodingFormat=Text/URL encodings=MediaObject "
        "exampleOfWork=CreativeWork expires=Date/DateTime fileFormat=Text/URL funder=Organization/Person "
        "funding=Grant genre=DefinedTerm/Text/URL hasPart=CreativeWork headline=Text inLanguage=Language/Text "
        "interactionStatistic=InteractionCounter interactivityType=Text interpretedAsClaim=Claim "
        "isAccessibleForFree=Boolean isBasedOn=CreativeWork/Product/URL isBasedOnUrl=CreativeWork/Product/URL "
        "isFamilyFriendly=Boolean isPartOf=CreativeWork/URL keywords=DefinedTerm/Text/URL "
        "learningResourceType=DefinedTerm/Text license=CreativeWork/URL locationCreated=Place mainEntity=Thing "
        "maintainer=Organization/Person material=Product/Text/URL materialExtent=QuantitativeValue/Text "
        "mentions=Thing offers=Demand/Offer pattern=DefinedTerm/Text position=Integer/Text "
        "producer=Organization/Person provider=Organization/Person publication=PublicationEvent "
        "publisher=Organization/Person publisherImprint=Organization publishingPrinciples=CreativeWork/URL "
        "recordedAt=Event releasedEvent=PublicationEvent review=Review reviews=Review schemaVersion=Text/URL "
        "sdDatePublished=Date sdLicense=CreativeWork/URL sdPublisher=Organization/Person "
        "size=DefinedTerm/QuantitativeValue/SizeSpecification/Text sourceOrganization=Organization spatial=Place "
        "spatialCoverage=Place sponsor=Organization/Person teaches=DefinedTerm/Text temporal=DateTime/Text "
        "temporalCoverage=DateTime/Text/URL text=Text thumbnail=ImageObject thumbnailUrl=URL timeRequired=Duration "
        "translationOfWork=CreativeWork translator=Organization/Person typicalAgeRange=Text "
        "usageInfo=CreativeWork/URL version=Number/Text video=Clip/VideoObject wordCount=Integer "
        "workExample=CreativeWork workTranslation=CreativeWork"
    ),
    "Article": (
        "articleBody=Text articleSection=Text backstory=CreativeWork/Text pageEnd=Integer/Text "
        "pageStart=Integer/Text pagination=Text speakable=SpeakableSpecification/URL wordCount=Integer"
    ),
    "SocialMediaPosting": "sharedContent=CreativeWork",
    "NewsArticle": "dateline=Text printColumn=Text printEdition=Text printPage=Text printSection=Text",
    "TechArticle": "dependencies=Text proficiencyLevel=Text",
    "Report": "reportNumber=Text",
    "LiveBlogPosting": "coverageEndTime=DateTime coverageStartTime=DateTime liveBlogUpdate=BlogPosting",
    "Blog": "blogPost=BlogPosting blogPosts=BlogPosting issn=Text",
    "WebPage": (
        "breadcrumb=BreadcrumbList/Text lastReviewed=Date mainContentOfPage=WebPageElement "
        "primaryImageOfPage=ImageObject relatedLink=URL reviewedBy=Organization/Person significantLink=URL "
        "significantLinks=URL speakable=SpeakableSpecification/URL specialty=Specialty"
    ),
    "WebSite": "issn=Text",
    "WebPageElement": "cssSelector=CssSelectorType xpath=XPathType",
    "Comment": ("downvoteCount=Integer parentItem=Comment/CreativeWork sharedContent=CreativeWork upvoteCount=Integer"),
    "Question": (
        "acceptedAnswer=Answer/ItemList answerCount=Integer eduQuestionType=Text parentItem=Comment/CreativeWork "
        "suggestedAnswer=Answer/ItemList"
    ),
    "Answer": "answerExplanation=Comment/WebContent parentItem=Comment/CreativeWork",
    "Claim": "appearance=CreativeWork claimInterpreter=Organization/Person firstAppearance=CreativeWork",
    "Quotation": "spokenByCharacter=Organization/Person",
    "MediaObject": (
        "associatedArticle=NewsArticle bitrate=Text contentSize=Text contentUrl=URL "
        "duration=Duration/QuantitativeValue embedUrl=URL encodesCreativeWork=CreativeWork encodingFormat=Text/URL "
        "endTime=DateTime/Time height=Distance/QuantitativeValue ineligibleRegion=GeoShape/Place/Text "
        "interpretedAsClaim=Claim playerType=Text productionCompany=Organization regionsAllowed=Place "
        "requiresSubscription=Boolean/MediaSubscription sha256=Text startTime=DateTime/Time "
        "uploadDate=Date/DateTime width=Distance/QuantitativeValue"
    ),
    "ImageObject": (
        "caption=MediaObject/Text embeddedTextCaption=Text exifData=PropertyValue/Text representativeOfPage=Boolean"
    ),
    "VideoObject": (
        "actor=PerformingGroup/Person actors=Person caption=MediaObject/Text director=Person directors=Person "
        "embeddedTextCaption=Text musicBy=MusicGroup/Person transcript=Text videoFrameSize=Text videoQuality=Text"
    ),
    "Organization": (
        "acceptedPaymentMethod=LoanOrCredit/PaymentMethod/Text actionableFeedbackPolicy=CreativeWork/URL "
        "address=PostalAddress/Text agentInteractionStatistic=InteractionCounter aggregateRating=AggregateRating "
        "alumni=Person areaServed=AdministrativeArea/GeoShape/Place/Text "
        "authorizedRepresentative=Organization/Person award=Text awards=Text brand=Brand/Organization "
        "companyRegistration=Certification contactPoint=ContactPoint contactPoints=ContactPoint "
        "correctionsPolicy=CreativeWork/URL department=Organization dissolutionDate=Date "
        "diversityPolicy=CreativeWork/URL diversityStaffingReport=Article/URL duns=Text email=Text employee=Person "
        "employees=Person ethicsPolicy=CreativeWork/URL event=Event events=Event faxNumber=Text "
        "founder=Organization/Person founders=Person foundingDate=Date foundingLocation=Place "
        "funder=Organization/Person funding=Grant globalLocationNumber=Text hasCertification=Certification "
        "hasCredential=Credential hasGS1DigitalLink=URL hasMemberProgram=MemberProgram "
        "hasMerchantReturnPolicy=MerchantReturnPolicy hasOfferCatalog=OfferCatalog hasPOS=Place "
        "hasProductReturnPolicy=ProductReturnPolicy hasShippingService=ShippingService "
        "interactionStatistic=InteractionCounter isicV4=Text iso6523Code=Text keywords=DefinedTerm/Text/URL "
        "knowsAbout=Text/Thing/URL knowsLanguage=Language/Text legalAddress=PostalAddress legalName=Text "
        "legalRepresentative=Person leiCode=Text location=Place/PostalAddress/Text/VirtualLocation "
        "logo=ImageObject/URL makesOffer=Offer member=Organization/Person "
        "memberOf=MemberProgramTier/Organization/ProgramMembership members=Organization/Person naics=Text "
        "nonprofitStatus=NonprofitType numberOfEmployees=QuantitativeValue "
        "ownershipFundingInfo=AboutPage/CreativeWork/Text/URL owns=Thing parentOrganization=Organization "
        "publishingPrinciples=CreativeWork/URL review=Review reviews=Review seeks=Demand "
        "serviceArea=AdministrativeArea/GeoShape/Place skills=DefinedTerm/Text slogan=Text "
        "sponsor=Organization/Person subOrganization=Organization taxID=Text telephone=Text "
        "unnamedSourcesPolicy=CreativeWork/URL vatID=Text"
    ),
    "NewsMediaOrganization": (
        "actionableFeedbackPolicy=CreativeWork/URL correctionsPolicy=CreativeWork/URL "
        "diversityPolicy=CreativeWork/URL diversityStaffingReport=Article/URL ethicsPolicy=CreativeWork/URL "
        "masthead=CreativeWork/URL missionCoveragePrioritiesPolicy=CreativeWork/URL "
        "noBylinesPolicy=CreativeWork/URL ownershipFundingInfo=AboutPage/CreativeWork/Text/URL "
        "unnamedSourcesPolicy=CreativeWork/URL verificationFactCheckingPolicy=CreativeWork/URL"
    ),
    "Person": (
        "additionalName=Text address=PostalAddress/Text affiliation=Organization "
        "agentInteractionStatistic=InteractionCounter alumniOf=EducationalOrganization/Organization award=Text "
        "awards=Text birthDate=Date birthPlace=Place brand=Brand/Organization callSign=Text children=Person "
        "colleague=Person/URL colleagues=Person contactPoint=ContactPoint contactPoints=ContactPoint "
        "deathDate=Date deathPlace=Place duns=Text email=Text familyName=Text faxNumber=Text follows=Person "
        "funder=Organization/Person funding=Grant gender=GenderType/Text givenName=Text globalLocationNumber=Text "
        "hasCertification=Certification hasCredential=Credential hasOccupation=Occupation "
        "hasOfferCatalog=OfferCatalog hasPOS=Place height=Distance/QuantitativeValue "
        "homeLocation=ContactPoint/Place honorificPrefix=Text honorificSuffix=Text "
        "interactionStatistic=InteractionCounter isicV4=Text jobTitle=DefinedTerm/Text knows=Person "
        "knowsAbout=Text/Thing/URL knowsLanguage=Language/Text lifeEvent=Event makesOffer=Offer "
        "memberOf=MemberProgramTier/Organization/ProgramMembership naics=Text nationality=Country "
        "netWorth=MonetaryAmount/PriceSpecification owns=Thing parent=Person parents=Person performerIn=Event "
        "pronouns=DefinedTerm/StructuredValue/Text publishingPrinciples=CreativeWork/URL relatedTo=Person "
        "seeks=Demand sibling=Person siblings=Person skills=DefinedTerm/Text sponsor=Organization/Person "
        "spouse=Person taxID=Text telephone=Text vatID=Text weight=Mass/QuantitativeValue "
        "workLocation=ContactPoint/Place worksFor=Organization"
    ),
    "ItemList": (
        "aggregateElement=Thing itemListElement=ListItem/Text/Thing itemListOrder=ItemListOrderType/Text "
        "numberOfItems=Integer"
    ),
    "ListItem": "item=Thing nextItem=ListItem position=Integer/Text previousItem=ListItem",
    "ContactPoint": (
        "areaServed=AdministrativeArea/GeoShape/Place/Text availableLanguage=Language/Text "
        "contactOption=ContactPointOption contactType=Text email=Text faxNumber=Text "
        "hoursAvailable=OpeningHoursSpecification productSupported=Product/Text "
        "serviceArea=AdministrativeArea/GeoShape/Place telephone=Text"
    ),
    "PostalAddress": (
        "addressCountry=Country/Text addressLocality=Text addressRegion=AdministrativeArea/Text "
        "extendedAddress=Text postOfficeBoxNumber=Text postalCode=Text streetAddress=Text"
    ),
    "PropertyValue": (
        "maxValue=Number measurementMethod=DefinedTerm/MeasurementMethodEnum/Text/URL "
        "measurementTechnique=DefinedTerm/MeasurementMethodEnum/Text/URL minValue=Number propertyID=Text/URL "
        "unitCode=Text/URL unitText=Text value=Boolean/Number/QualitativeValue/StructuredValue/Text "
        "valueGroup=Text "
        "valueReference=DefinedTerm/Enumeration/MeasurementTypeEnumeration/PropertyValue/QualitativeValue/QuantitativeValue/StructuredValue/Text"
    ),
    "EntryPoint": (
        "actionApplication=SoftwareApplication actionPlatform=DigitalPlatformEnumeration/Text/URL "
        "application=SoftwareApplication contentType=Text encodingType=Text httpMethod=Text urlTemplate=Text"
    ),
    "Action": (
        "actionProcess=HowTo actionStatus=ActionStatusType agent=Organization/Person endTime=DateTime/Time "
        "error=Thing instrument=Thing location=Place/PostalAddress/Text/VirtualLocation object=Thing "
        "participant=Organization/Person provider=Organization/Person result=Thing startTime=DateTime/Time "
        "target=EntryPoint/URL"
    ),
    "SearchAction": "query=Text",
    "SpeakableSpecification": "cssSelector=CssSelectorType xpath=XPathType",
    "InteractionCounter": (
        "endTime=DateTime/Time interactionService=SoftwareApplication/WebSite interactionType=Action "
        "location=Place/PostalAddress/Text/VirtualLocation startTime=DateTime/Time userInteractionCount=Integer"
    ),
    "DefinedTerm": "about=Thing inDefinedTermSet=DefinedTermSet/URL termCode=Text",
    "DefinedTermSet": "about=Thing hasDefinedTerm=DefinedTerm",
    "Rating": (
        "author=Organization/Person bestRating=Number/Text ratingExplanation=Text ratingValue=Number/Text "
        "reviewAspect=StructuredValue/Text worstRating=Number/Text"
    ),
    "AggregateRating": "itemReviewed=Thing ratingCount=Integer reviewCount=Integer",
}


def _parsed(text: str) -> dict[str, frozenset[str]]:
    pairs = (entry.split("=") for entry in text.split())
    return {name: frozenset(kinds.split("/")) for name, kinds in pairs}


@cache
def properties_of(type_name: str) -> dict[str, frozenset[str]] | None:
    """Every property of a type, inherited ones too, with the types of its values; None where they are not held."""
    if type_name not in PARENTS:
        return None
    found: dict[str, frozenset[str]] = {}
    for parent in PARENTS[type_name]:
        found.update(properties_of(parent) or {})
    return {**found, **_parsed(_PROPERTIES_TEXT.get(type_name, ""))}


@cache
def ancestors_of(type_name: str) -> frozenset[str]:
    """The type itself and everything it inherits from, as far as it is held."""
    return frozenset({type_name}).union(*(ancestors_of(parent) for parent in PARENTS.get(type_name, ())))
