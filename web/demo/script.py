"""What the demo's callers and AIs say: plain data, so that a conversation can be read and changed in one place."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Exchange:
    """One question of the AI and the caller's answer; an empty answer ends the call after the AI's line."""

    ai: str
    caller: str = ""


@dataclass(frozen=True)
class Script:
    """One caller's errand."""

    key: str
    caller_name: str
    caller_number: str
    queue: str
    exchanges: tuple[Exchange, ...]
    to_human: tuple[str, ...]
    """What the caller says to a person, in turn; the last one is repeated."""
    asks_human_for: str = ""
    """Not empty: after a minute the AI asks for a human, for this reason."""
    ai_voice: str = "ai"
    caller_voice: str = "caller"


DELIVERY = Script(
    key="delivery",
    caller_name="Maria Keller",
    caller_number="4930555010",
    queue="delivery",
    exchanges=(
        Exchange(
            "Hello, this is the delivery service. I am the automatic assistant. How can I help you?",
            "Hi. My parcel should have been here yesterday, and it is still not here.",
        ),
        Exchange(
            "I am sorry to hear that. Could you tell me the parcel number, please?",
            "It is four, seven, one, two, nine.",
        ),
        Exchange(
            "Thank you. Four, seven, one, two, nine. Is it the parcel to Garden Street?", "Yes, Garden Street eleven."
        ),
        Exchange(
            "The driver could not find your name on the door bell yesterday. Is your name on it?",
            "No, it is under the name of my flatmate. That is Weber.",
        ),
        Exchange(
            "I have noted the name Weber. Shall we try again tomorrow?",
            "Tomorrow would be good. Before noon, if possible.",
        ),
        Exchange(
            "Tomorrow between nine and twelve. May the driver leave it with a neighbour?",
            "Yes, with the bakery next door.",
        ),
        Exchange(
            "With the bakery next door. Shall we send you a message when it is on its way?",
            "Yes, please, to this number.",
        ),
        Exchange(
            "You will get a message in the morning. Is there anything else I can do?",
            "Could you tell me what it weighs?",
        ),
        Exchange(
            "It weighs about three kilograms. Can I help you with anything else?",
            "No, that was all. Thank you very much.",
        ),
        Exchange("Thank you for calling. Goodbye."),
    ),
    to_human=(
        "Oh, hello. Yes, I can hear you well.",
        "Yes, that is right. The parcel number is four, seven, one, two, nine.",
        "That sounds good to me.",
        "All right. Thank you for looking into it yourself.",
        "Okay.",
    ),
)

APPOINTMENT = Script(
    key="appointment",
    caller_name="Tom Berger",
    caller_number="4989555020",
    queue="practice",
    exchanges=(
        Exchange(
            "Good day, this is the practice of Doctor Lind. I am the automatic assistant. What can I do for you?",
            "Hello. I need an appointment. My knee hurts since the weekend.",
        ),
        Exchange("I am sorry about your knee. Have you been with us before?", "Yes, last year in autumn."),
        Exchange("Good. May I have your date of birth, please?", "The third of May, nineteen eighty-four."),
        Exchange("Thank you. Did you fall, or did the pain come by itself?", "I slipped on the stairs on Saturday."),
        Exchange("Can you walk without help?", "Yes, but it hurts when I go down stairs."),
        Exchange(
            "I could offer you Wednesday at half past ten. Would that suit you?",
            "Half past ten is difficult. Is there anything in the afternoon?",
        ),
        Exchange("On Wednesday at a quarter past four, then.", "Yes, that works for me."),
        Exchange(
            "Please bring your insurance card. Do you have an X-ray from last year?", "I think so. I will look for it."
        ),
        Exchange("Good. Shall I send you a reminder the evening before?", "Yes, please."),
        Exchange(
            "Then we see you on Wednesday at a quarter past four. Is there anything else?", "No, thank you. Goodbye."
        ),
        Exchange("Get well soon. Goodbye."),
    ),
    to_human=(
        "Oh, hello. I was just talking to your assistant. Yes, I can hear you.",
        "It is the left knee. It is a little swollen as well.",
        "Yes, I can do that.",
        "Good, thank you. That helps me a lot.",
        "Okay.",
    ),
)

CLAIM = Script(
    key="claim",
    caller_name="Ingrid Sommer",
    caller_number="4940555030",
    queue="claims",
    asks_human_for="The caller disputes a refusal and wants to talk to a person.",
    exchanges=(
        Exchange(
            "Welcome to the claims line. I am the automatic assistant. What happened?",
            "Water came through my ceiling. And you have refused to pay for it.",
        ),
        Exchange("I am sorry. Do you have the number of your claim?", "Yes. It is eight, eight, three, zero."),
        Exchange(
            "Thank you. I see a claim about water damage in the kitchen. Is that the one?", "Yes, that is the one."
        ),
        Exchange(
            "The letter says that the damage was reported late.", "That is not true. I called you on the same evening."
        ),
        Exchange("Do you remember who you talked to that evening?", "A friendly man. I did not write down his name."),
        Exchange("Did you get a message that confirms your call?", "No, nobody sent me anything."),
        Exchange("I have noted that you called on the same evening.", "I want you to look at that letter again."),
        Exchange("I can ask for a second look. It takes about five days.", "Five days? My kitchen is still wet."),
        Exchange("I understand. Has a plumber been there?", "Yes, he came the next morning. I have his bill."),
        Exchange("Please keep the bill. You can send us a photo of it.", "I have sent it twice already."),
        Exchange("I see one photo in your file, from the fourth.", "Then you do have it. So what is missing?"),
        Exchange("Only the decision is missing. I cannot make it myself.", "Then I want to talk to somebody who can."),
        Exchange(
            "I have put that into your file as well. Is there anything else?", "No. But I expect a call back today."
        ),
        Exchange("You will be called back today. Thank you for your patience. Goodbye."),
    ),
    to_human=(
        "At last, a real person. Yes, I can hear you.",
        "I reported it the same evening, and now you say it was late.",
        "Yes, I still have the bill of the plumber.",
        "That is good news. Thank you for your help.",
        "All right.",
    ),
)

HOTEL = Script(
    key="hotel",
    caller_name="David Okoye",
    caller_number="442055504",
    queue="booking",
    exchanges=(
        Exchange(
            "Hotel Seeblick, good day. You are talking to the automatic assistant. How may I help you?",
            "Hello. I have booked a room for Friday, and I would like to come a day earlier.",
        ),
        Exchange("With pleasure. Under which name did you book?", "Okoye. David Okoye."),
        Exchange(
            "Thank you. A double room from Friday to Sunday. You would like to come on Thursday?",
            "Yes, on Thursday evening.",
        ),
        Exchange(
            "The room is free on Thursday. It is eighty-nine euros for the night. Is that all right?",
            "Does that include breakfast?",
        ),
        Exchange("Yes, breakfast is included, from seven to ten.", "Good. Then please book it."),
        Exchange(
            "I have booked Thursday for you. When will you arrive?",
            "Rather late. My train arrives at ten in the evening.",
        ),
        Exchange("The reception is open until midnight. Will you need a parking space?", "No, I come by train."),
        Exchange("Shall we order you a taxi to the station on Sunday?", "Yes, at nine in the morning, please."),
        Exchange("A taxi on Sunday at nine. Is there anything else?", "No, that is everything. Thank you."),
        Exchange("We look forward to your visit. Goodbye."),
    ),
    to_human=(
        "Oh, good evening. Yes, I can hear you fine.",
        "It is about my booking. I would like to come on Thursday.",
        "That would be wonderful.",
        "Thank you, that is very kind.",
        "Okay.",
    ),
)

CARD = Script(
    key="card",
    caller_name="Sofia Marin",
    caller_number="34915550505",
    queue="cards",
    exchanges=(
        Exchange(
            "Welcome to the card service. I am the automatic assistant. What can I do for you?",
            "I cannot find my card. I think I lost it on the train.",
        ),
        Exchange("I will block it at once. What are the last four digits?", "I think they are six, six, zero, one."),
        Exchange("Six, six, zero, one. The card is blocked. When did you last use it?", "This morning, at the bakery."),
        Exchange("There is one payment of four euros this morning. Is that yours?", "Yes, that was me."),
        Exchange("Good. Shall I order a new card for you?", "Yes, please. How long does that take?"),
        Exchange("About five days. Is your address still the same?", "No, I have moved. It is Mill Lane three now."),
        Exchange("Mill Lane three. Do you keep your old secret number?", "I would like a new one."),
        Exchange(
            "It will come in a letter of its own. Is there anything else?", "No, thank you. You have been very quick."
        ),
        Exchange("Thank you for calling. Goodbye."),
    ),
    to_human=(
        "Oh, hello. Yes, I can hear you.",
        "I lost my card, and I am afraid that somebody uses it.",
        "Yes, please do that.",
        "Thank you. Now I feel better.",
        "Okay.",
    ),
)

SCRIPTS = (DELIVERY, CLAIM, APPOINTMENT, HOTEL, CARD)

HELLO_AGAIN = "Hello? Is anybody there?"
STILL_THERE = "Are you still there?"
ASK_HUMAN = "I would rather have a person look at this. I am asking a colleague to join us. One moment, please."
STILL_ASKING = "I am still trying to reach a colleague for you. Meanwhile, let us go on."
GLADLY = "Yes, please. That would be good."
BACK = "This is the automatic assistant again."


def back_with(agent: str, note: str) -> str:
    """What the AI says when it gets the call back: the agent's note as the caller should hear it.

    The note is a person's short text: it becomes one sentence of ours, with its first letter lowered where that
    is no name or abbreviation we could spoil.
    """
    text = _clause(note)
    return f"{BACK} {agent or 'My colleague'} told me that {text}." if text else BACK


def coached_with(words: str) -> str:
    """What the AI makes of a colleague's words: ``tell her that ...`` becomes a sentence to the caller."""
    text = _clause(_TELL.sub("", " ".join(words.split()), count=1))
    return f"I have just heard that {text}." if text else ""


_TELL = re.compile(r"^(please )?(tell|say to|inform) (her|him|them|the caller)( that)?:? ?", re.IGNORECASE)


def _clause(text: str) -> str:
    """A short text as the end of a sentence: one line, no full stop, its first letter lowered where that is safe."""
    text = " ".join(text.split()).rstrip(".!; ")
    first, _, _ = text.partition(" ")
    if first[1:].islower() and first.lower() in _OPENERS:
        text = text[0].lower() + text[1:]
    return text


# What a name does not begin with.
_OPENERS = frozenset(
    [
        *("the", "a", "an", "he", "she", "they", "it", "we", "you", "your", "his", "her", "their", "our", "there"),
        *("this", "that", "please", "refund", "refunds", "everything", "nothing", "all"),
    ]
)
