"""Pairs of questions, and of statements, one a line: `one | other`."""

from typing import Final

Pairs = list[tuple[str, str]]


def pairs(lines: str) -> Pairs:
    found = []
    for line in lines.splitlines():
        if line.strip():
            one, other = line.split("|")
            found.append((one.strip(), other.strip()))
    return found


SAME: Final = pairs(
    """
    Wie hoch ist der Druck von Pumpe 3? | wie hoch ist der Druck  von Pumpe 3
    ¿Dónde está la llave? | dónde está la llave
    Please, where is the key? | Where is the key? Thanks in advance!
    What does the 5" pipe cost? | What does the 5 inch pipe cost?
    What is the limit of the fridge? | what is the limit of the fridge
    What is the limit of the fridge? | What's the fridge's limit?
    What's the limit of the fridge? | Could you tell me what the fridge's limit is, please?
    What is the fridge limit? | Please tell me the limit of the fridge.
    What is the limit of the refrigerator? | What is the limit of the fridge?
    Hi, what is the fridge limit? | What's the fridge limit, please?
    Hello there! What is the fridge limit? | I'd like to know what the fridge limit is.
    What is the max pressure of boiler 2? | What is the maximum pressure of boiler 2?
    What is the maximum pressure of boiler 2? | maximum pressure of boiler 2
    What is the maximum pressure of boiler 2? | What is boiler 2's maximum pressure?
    What is the password of the guest Wi-Fi? | What is the guest wifi password?
    What is the code for the alarm? | What is the alarm code?
    What is the serial number of pump P-12? | What is pump P12's serial number?
    How do I clean the pump? | How can I clean the pump?
    How do I clean the pump? | How do you clean the pump?
    How do I clean the pump? | How should we clean the pump?
    How do I clean the pump? | How to clean the pump
    How do I clean the pump? | What is the procedure for cleaning the pump?
    How do I clean the pump? | What's the right way to clean the pump?
    How do I clean the pump? | What are the steps for cleaning the pump?
    How do I clean the pump? | Can you show me how to clean the pump?
    How do I clean the pump? | Can you explain how I can clean the pump?
    How do I clean the pump? | I want to know how to clean the pump.
    How do I clean the pump? | How is the pump cleaned?
    How do I clean the pump? | How can the pump be cleaned?
    How do I clean a pump? | How do I clean the pumps?
    How do I replace the filter of pump 3? | How do I change the filter of pump 3?
    How do I change the battery? | How is the battery replaced?
    How do I calibrate sensor S-4? | What is the process of calibrating sensor S4?
    How do I repair the belt? | How do I fix the belt?
    How do I turn on the oven? | How do I switch the oven on?
    How do I turn the lights off? | How can I switch off the lights?
    How am I supposed to store the vaccine? | How should I store the vaccine?
    Where is the first aid kit? | Where can I find the first aid kit?
    Where is the first aid kit? | Where do I find the first aid kit?
    Where is the first aid kit? | Can you tell me where the first aid kit is?
    Where is the first aid kit? | Do you know where the first aid kit is located?
    Where is the first aid kit? | What is the location of the first aid kit?
    Where is the main switch located? | Where is the main switch situated?
    Where are the spare fuses kept? | Where are the spare fuses stored?
    Where is the lift? | Excuse me, where is the elevator?
    What is the temperature in cold room 2? | How warm is it in cold room 2?
    What is the temperature in cold room 2? | What is the temperature of cold room 2?
    What is the temperature in cold room 2? | How cold is cold room 2?
    What is the temperature in cold room 2? | what is cold room 2's temp
    In cold room 2, what is the temperature? | What is the temperature in cold room 2?
    How high is the pressure in boiler 1? | What is the pressure in boiler 1?
    What temperature is the oven? | What temperature does the oven have?
    What temperature is the oven? | What is the temperature of the oven?
    How heavy is the motor? | What does the motor weigh?
    How heavy is the motor? | How much does the motor weigh?
    How heavy is the motor? | What is the weight of the motor?
    How old is the compressor? | What is the age of the compressor?
    Who is responsible for the ovens? | Who is in charge of the ovens?
    Who is responsible for the ovens? | Who is the person responsible for the ovens?
    Who is responsible for the ovens? | Who takes care of the ovens?
    Who is responsible for the ovens? | Do you know who looks after the ovens?
    Who should I call if the lift is stuck? | Who do I phone if the elevator is stuck?
    How much does the filter cost? | What does the filter cost?
    How much does the filter cost? | What is the price of the filter?
    How much does the filter cost? | How much is the filter?
    What is the cost of a filter? | I wonder what a filter costs
    What does error E42 mean? | What is the meaning of error E42?
    What does error E42 mean? | What is meant by error E-42?
    What does error E42 mean? | Can you tell me what error E42 means?
    When does the shop open? | What time does the shop open?
    When does the shop open? | At what time does the shop open?
    When does the shop open? | Do you know when the shop opens?
    When does the night shift start? | When does the night shift begin?
    When does the night shift end? | What time does the night shift finish?
    What are the opening hours of the clinic? | When is the clinic open?
    What are the clinic's opening hours? | What are the business hours of the clinic?
    Am I allowed to use the lift? | May I use the elevator?
    Is it permitted to smoke in the yard? | May one smoke in the yard?
    Can I park behind the hall? | Is it possible to park behind the hall?
    Do I have to wear gloves? | Must I wear gloves?
    Do I have to wear gloves? | Is it necessary to wear gloves?
    Do we need to wear gloves? | Are we required to wear gloves?
    Should I lock the gate? | Should we lock the gate?
    Is the pump on? | Do you know whether the pump is on?
    Is the pump on? | Can you tell me if the pump is on?
    Is pump 3 broken? | Is pump 3 out of order?
    What do I do if the alarm goes off? | What should I do when the alarm goes off?
    What do I do if the alarm goes off? | What is to be done if the alarm goes off?
    What do I do in case of fire? | What should I do if there is a fire?
    What happens if the door stays open? | What happens when the door stays open?
    How often must the filter be checked? | How frequently must the filter be inspected?
    How often is the filter replaced? | At what intervals is the filter exchanged?
    What was the temperature yesterday in room 3? | What was the temperature in room 3 yesterday?
    Who is on duty today? | Today, who is on duty?
    Why is the pump hot? | How come the pump is hot?
    Why is the pump hot? | For what reason is the pump hot?
    Why did the alarm ring? | What is the reason why the alarm did ring?
    How long does it take to defrost the freezer? | How long do I need to defrost the freezer?
    What is the difference between mode A and mode B? | How does mode A differ from mode B?
    What is the difference between mode A and mode B? | How do mode A and mode B differ?
    What is valve V7 for? | What is the purpose of valve V7?
    What is valve V7 for? | What is valve V7 used for?
    How does the separator work? | How does the separator function?
    How does the separator work? | Can you explain how the separator works?
    What is the number of ovens in hall 2? | How many ovens are there in hall 2?
    How many ovens do we have in hall 2? | How many ovens are in hall 2?
    Are there spare fuses in the store? | Do we have any spare fuses in the store?
    Which colour is the gas pipe? | What color is the gas pipe?
    What colour is the gas pipe? | What is the colour of the gas pipe?
    Which pump is broken? | What pump is broken?
    Which fridge is too warm? | Which fridges are too warm?
    What is 8 °C in the log? | What is 8 degrees Celsius in the log?
    Does oil last three months? | Does oil last 3 months?
    Is 5kg too much? | Is 5 kg too much?
    Is it 50 percent? | Is it 50%?
    Isn't the gate locked? | Is not the gate locked?
    What happened on the third floor? | What happened on the 3rd floor?
    Is 1,000 litres enough? | Is 1000 liters enough?
    Who did Anna call? | Whom did Anna call?
    Who cleans the yard every day? | Who cleans the yard daily?
    How do I report a power cut? | How do I report a power outage?
    Where should I park the truck? | Where do I park the lorry?
    Quick question: who has the key? | Who has the key?
    Who has the key? Thanks! | Who has the key?
    Where is the torque wrench? | Do you know where the torque wrench is?
    Where is the torque wrench? | Where can I find the torque wrench?
    Where is the torque wrench kept? | Where do we keep the torque wrench?
    Where are the spare filters? | Can you tell me where the spare filters are?
    Where do I put the empty pallets? | Where should I put the empty pallets?
    Where does the drain pipe end? | Can you tell me where the drain pipe ends?
    What is the alarm code of the annex? | What's the annex alarm code?
    What is the alarm code of the annex? | Could you remind me of the alarm code of the annex?
    What is the wifi password? | Tell me the Wi-Fi password, please.
    What is the wifi password? | Hey, what's the password for the wifi?
    What is the phone number of the plumber? | What's the plumber's phone number?
    What is Greta's extension? | What is the extension of Greta?
    What is the part number of the drive belt? | What part number does the drive belt have?
    What is the serial number of the autoclave? | What is the autoclave's serial number?
    What is the target temperature of the chiller? | What's the chiller's target temperature?
    What is the maximum load of the winch? | What's the max load of the winch?
    What is the pressure in the boiler? | How high is the pressure in the boiler?
    What is the pressure in the boiler? | What's the boiler pressure?
    How hot is the dryer? | What temperature does the dryer have?
    How hot is the dryer? | What is the temperature of the dryer?
    How heavy is the generator? | How much does the generator weigh?
    How heavy is the generator? | What is the generator's weight?
    How old is the press? | What is the age of the press?
    How tall is the silo? | What is the height of the silo?
    How many chairs are in the canteen? | How many chairs are there in the canteen?
    How many chairs are in the canteen? | What is the number of chairs in the canteen?
    How much does a new pump cost? | What does a new pump cost?
    How much does a new pump cost? | What's the price of a new pump?
    How much is the parking fee? | How high is the parking fee?
    How do I reset the scanner? | How can I reset the scanner?
    How do I reset the scanner? | What is the way to reset the scanner?
    How do I reset the scanner? | How to reset the scanner?
    How do I reset the scanner? | How does one reset the scanner?
    How do I descale the coffee machine? | What are the steps to descale the coffee machine?
    How do I descale the coffee machine? | Please explain how to descale the coffee machine.
    How do I change the toner of the printer? | How do I replace the toner of the printer?
    How do I calibrate the scale? | What is the procedure for calibrating the scale?
    How do I calibrate the scale? | I need to know how to calibrate the scale.
    How do I calibrate the scale? | Could you show me how I calibrate the scale?
    How do I turn off the sprinkler? | How do I switch off the sprinkler?
    How do I turn off the sprinkler? | How can I turn the sprinkler off?
    How do I unjam the conveyor? | What is the best way of unjamming the conveyor?
    How do I dispose of old batteries? | How should old batteries be disposed of?
    How do I book the meeting room? | How can we book the meeting room?
    How do I report an accident? | What is the procedure to report an accident?
    How does the heat exchanger work? | Can you explain how the heat exchanger works?
    How often is the extinguisher checked? | How frequently is the extinguisher checked?
    How often is the extinguisher checked? | At what intervals is the extinguisher inspected?
    How long does the sterilisation take? | How much time does the sterilisation take?
    How long does the sterilisation take? | What is the duration of the sterilisation?
    How long does it take to charge the forklift? | How long do I need to charge the forklift?
    How far is it to the depot? | What is the distance to the depot?
    When does the canteen open? | What time does the canteen open?
    When does the canteen open? | At what time does the canteen open?
    When does the canteen open? | Can you say when the canteen opens?
    When does the early shift end? | When does the early shift finish?
    When does the early shift start? | What time does the early shift begin?
    What are the opening hours of the depot? | When is the depot open?
    What are the opening hours of the depot? | What are the depot's opening hours?
    Who is responsible for the first aid boxes? | Who is in charge of the first aid boxes?
    Who is responsible for the first aid boxes? | Who takes care of the first aid boxes?
    Who is responsible for the first aid boxes? | Do you know who is responsible for the first aid boxes?
    Who is responsible for the first aid boxes? | Who looks after the first aid boxes?
    Who is the safety officer? | Tell me who the safety officer is.
    Who has the key to the archive? | Who has got the key to the archive?
    Who do I call when the lift is stuck? | Who should I call if the lift is stuck?
    Who do I call when the lift is stuck? | Whom do I phone when the elevator is stuck?
    Who supplies the bottles? | Who is the supplier of the bottles?
    Who may operate the crane? | Who is allowed to operate the crane?
    Who repaired the roof? | Who fixed the roof?
    Which oil does the gearbox need? | What oil does the gearbox need?
    Which oil does the gearbox need? | What kind of oil does the gearbox need?
    What colour is the drain valve? | Which color does the drain valve have?
    What does error E-17 mean? | What is the meaning of error E17?
    What does error E-17 mean? | Please tell me what error E17 means.
    What is the red button for? | What is the purpose of the red button?
    What is the difference between mode 1 and mode 2? | How does mode 1 differ from mode 2?
    What do I do if the alarm rings? | What should I do when the alarm rings?
    What do I do if the alarm rings? | What is to be done when the alarm rings?
    What do I do in case of a power cut? | What should I do if there is a power outage?
    What happens if the filter is clogged? | What happens when the filter is clogged?
    What is needed to clean the hood? | What is required to clean the hood?
    Is the gate locked? | Can you tell me whether the gate is locked?
    Is the gate locked? | Do you know if the gate is locked?
    Is the chiller out of order? | Is the chiller broken?
    Is there a defibrillator in the building? | Do we have a defibrillator in the building?
    Are there spare gloves? | Do we have any spare gloves?
    Am I allowed to smoke on the roof? | May I smoke on the roof?
    Am I allowed to smoke on the roof? | Is it allowed to smoke on the roof?
    Do I have to wear a helmet? | Must I wear a helmet?
    Do I have to wear a helmet? | Is it necessary to wear a helmet?
    Can I use the freight lift? | Is it possible to use the freight elevator?
    Can visitors park here? | Is it possible for visitors to park here?
    Why is the dryer so loud? | How come the dryer is so loud?
    Why is the dryer so loud? | What makes the dryer so loud?
    Why does the pump vibrate? | For what reason does the pump vibrate?
    Which bus goes to the plant? | What bus goes to the plant?
    In room 4, who repaired the tap? | Who repaired the tap in room 4?
    For the dryer, which fuse is right? | Which fuse is right for the dryer?
    What was the humidity yesterday in the annex? | What was the humidity in the annex yesterday?
    What is the max speed of the conveyor? | What is the maximum speed of the conveyor?
    Hi, could you please tell me the gate code? | What is the gate code?
    Sorry, which floor is the laboratory on? | Which floor is the laboratory on?
    I'd like to know who ordered the paint. | Who ordered the paint?
    I was wondering when the auditor comes. | When does the auditor come?
    Any idea why the scanner beeps? | Why does the scanner beep?
    Let me know which valve is leaking. | Which valve is leaking?
    What's the name of the night guard? | What is the night guard called?
    Does it take three hours to cool down? | Does it take 3 hours to cool down?
    Who cleans the windows every month? | Who cleans the windows monthly?
    Is 4 °C cold enough for milk? | Is 4 degrees Celsius cold enough for milk?
    """
)

DIFFERENT: Final = pairs(
    """
    Do I have to pay in advance? | Do I have to pay?
    Must the room be booked in advance? | Must the room be booked?
    What are the opening hours on holidays? | What are the opening hours on vacation?
    Where is the torch of the welder? | Where is the flashlight of the welder?
    What kind of doctor is on duty in ward 3? | Which doctor is on duty in ward 3?
    What type of pump is in hall 2? | Which pump is in hall 2?
    What must I do if a guest complains? | What can I do if a guest complains?
    What can we do in case of a strike? | What must we do in case of a strike?
    What is the phone number of Andrea? | What is the phone number of Andreas?
    What is William's badge number? | What is Williams's badge number?
    What is the stock of A+? | What is the stock of A-?
    What is the stock of A-? | What is the stock of A?
    What happens if x != 5? | What happens if x = 5?
    How heavy is the 5' pipe? | How heavy is the 5" pipe?
    What is the price of 5 Mbar? | What is the price of 5 mbar?
    What does the gauge show at 300 K? | What does the gauge show at 300 k?
    What is the fine? | What is fine?
    Is the fine okay? | Is fine okay?
    What is the matter with it? | What is matter with it?
    How much is one bar? | What does one bar cost?
    Where are the quarters of the staff? | Where is the quarter of the staff?
    Wie hält man die Maschine an? | Wie hält man die Maschine?
    Wen ruft Anna an? | Wen ruft Anna?
    Was kostet der Motor mit 5 MW? | Was kostet der Motor mit 5 mW?
    Welche Maße hat die Platte? | Welche Masse hat die Platte?
    Welcher Kran hebt 1,500 t? | Welcher Kran hebt 1500 t?
    Wer hat alles gesehen? | Wer hat alle gesehen?
    Was sieht Anna nicht? | Was sieht Anna nichts?
    A chi vende la ditta? | Chi vende la ditta?
    Où est le fils de Paul ? | Où est le fil de Paul ?
    Is the output 5 mW? | Is the output 5 MW?
    Is the output 5mW? | Is the output 5MW?
    Does the link carry 10 Mb/s? | Does the link carry 10 MB/s?
    Is the pharmacy close? | Is the pharmacy shut?
    How long does the paint take? | How long does the paint last?
    What is allowed for visitors? | What is needed for visitors?
    On what date does the inspection start? | At what time does the inspection start?
    What date was the valve replaced? | What time was the valve replaced?
    Where is the Polish manual? | Where is the polish manual?
    Is -5 °C enough? | Is 5 °C enough?
    Is valve 1.2 open? | Is valve 12 open?
    第1个阀门是开的吗？ | 第2个阀门是开的吗？
    What is the limit of the fridge? | What is the limit of the freezer?
    What is the limit of the fridge? | What was the limit of the fridge?
    What is the limit of the fridge? | What will the limit of the fridge be?
    What is the limit of the fridge? | What is the lower limit of the fridge?
    What is the limit of fridge 1? | What is the limit of fridge 2?
    What is the limit of fridge 1? | What is the limit of fridge 11?
    What is the limit of fridge 1? | What is the limit of fridges?
    Does it survive 8 °C? | Does it survive 18 °C?
    Does it survive 18 °C? | Does it survive -18 °C?
    Does it survive 18 °C? | Does it survive minus 18 °C?
    Does it survive 8 °C? | Does it survive 8 °F?
    Does it survive 3.5 bar? | Does it survive 35 bar?
    Does it survive 3.5 bar? | Does it survive 3,5 bar?
    Does it need 5 mg? | Does it need 5 g?
    Does it need 5 minutes? | Does it need 5 hours?
    Does it need 1,000 litres? | Does it need 10,000 litres?
    Is part AB-12 in stock? | Is part AB-21 in stock?
    Is part AB-12 in stock? | Is part AB-123 in stock?
    Is part AB-12/3 in stock? | Is part AB-123 in stock?
    Is version 1.2 in use? | Is version 12 in use?
    Is version 1.2.3 in use? | Is version 1.23 in use?
    Is room 3a free? | Is room 3b free?
    Is room 3a free? | Is room 3 free?
    Is batch 0047 released? | Is batch 47 released?
    What happened at 10:30? | What happened at 10:03?
    What happened at 8 am? | What happened at 8 pm?
    What happened on 3 November? | What happened on 3 December?
    What happened on 3 November? | What happened on 13 November?
    What happened on 2026-11-03? | What happened on 2025-11-03?
    What happened on Monday? | What happened on Sunday?
    What happened in March? | What happened in May?
    What happened yesterday? | What happened today?
    What happened yesterday? | What happened the day before yesterday?
    What happened yesterday? | What happened before yesterday?
    What happened this week? | What happened last week?
    What happened since Monday? | What happened until Monday?
    What happened 2 days ago? | What happened 2 weeks ago?
    Who opens on the first floor? | Who opens on the third floor?
    Is Anna on duty? | Is Anton on duty?
    Is Anna Berg on duty? | Is Anna Burg on duty?
    Is Dr. Meier on duty? | Is Mrs. Meier on duty?
    Who will call Will? | Who will call?
    Who is May? | Who may?
    Does the US need it? | Does it need us?
    Is Mark in? | Is the mark in?
    Is the hotel in Basel open? | Is the hotel in Bern open?
    Is the valve open? | Is the valve closed?
    Is the valve open? | Is the valve not open?
    Is the valve open? | Isn't the valve open?
    Is the valve locked? | Is the valve unlocked?
    Is it a smoking room? | Is it a non-smoking room?
    Which pumps run? | Which pumps don't run?
    Which pumps run with oil? | Which pumps run without oil?
    Which pumps run on Monday? | Which pumps run except on Monday?
    Who never calls? | Who always calls?
    Who has no key? | Who has a key?
    Has nobody called? | Has anybody called?
    Did nothing happen? | Did something happen?
    Must I not enter? | Do I not have to enter?
    What is the maximum pressure of boiler 2? | What is the minimum pressure of boiler 2?
    What is the max speed? | What is the min speed?
    How do I turn on the oven? | How do I turn off the oven?
    How do I turn the oven on? | How do I turn the oven off?
    How do I turn up the heat? | How do I turn down the heat?
    How do I open the valve? | How do I close the valve?
    How do I lock the gate? | How do I unlock the gate?
    How do I load the truck? | How do I unload the truck?
    How do I connect the hose? | How do I disconnect the hose?
    How do I increase the pressure? | How do I decrease the pressure?
    How do I raise the limit? | How do I lower the limit?
    How do I fill the tank? | How do I empty the tank?
    How do I start the pump? | How do I stop the pump?
    How do I install the update? | How do I uninstall the update?
    How do I check in? | How do I check out?
    How do I add a user? | How do I remove a user?
    How do I enable the alarm? | How do I disable the alarm?
    How do I clean the pump? | How do I clean the pipe?
    How do I clean the pump? | How do I prime the pump?
    How do I clean the pump? | How often do I clean the pump?
    How do I clean the pump? | When do I clean the pump?
    How do I clean the pump? | Why do I clean the pump?
    How do I clean the pump? | Who cleans the pump?
    How do I clean the pump? | Do I clean the pump?
    How do I clean the pump? | How long do I clean the pump?
    How do I clean the pump? | How did I clean the pump?
    How do I clean the pump? | How do I clean the pump housing?
    How do I clean the pump? | How do I clean the pump filter?
    How do I clean the pump with acid? | How do I clean the pump with water?
    How do I clean the pump before use? | How do I clean the pump after use?
    How do I clean the big pump? | How do I clean the small pump?
    How do I clean the left pump? | How do I clean the right pump?
    How do I clean the inlet? | How do I clean the outlet?
    How is Anna called? | How do I call Anna?
    Who called Anna? | Who did Anna call?
    Who called Anna? | Who calls Anna?
    Who called Anna? | Who was called Anna?
    Who is calling Anna? | Who is Anna calling?
    Who sets the limit? | Who set the limit?
    Who closes the valve? | Who closed the valve?
    Did Anna call Bert? | Did Bert call Anna?
    Is Anna the boss of Bert? | Is Bert the boss of Anna?
    Which pump feeds the tank? | Which tank feeds the pump?
    Which pump feeds the tank? | Which pump does the tank feed?
    How do I get from A to B? | How do I get from B to A?
    How do I get from A to B? | How do I get from A to C?
    How far is it from Basel to Bern? | How far is it from Bern to Basel?
    Is line 1 faster than line 2? | Is line 2 faster than line 1?
    Is line 1 faster than line 2? | Is line 1 slower than line 2?
    Is line 1 faster than line 2? | Is line 1 as fast as line 2?
    Is 5 more than 3? | Is 3 more than 5?
    What is 5 minus 3? | What is 3 minus 5?
    What is 5 + 3? | What is 5 * 3?
    Is x < 5? | Is x > 5?
    Who arrived before Anna? | Who arrived after Anna?
    Who arrived first? | Who arrived last?
    Which is the hottest room? | Which is the coldest room?
    Which is the hottest room? | Which is a hot room?
    Which room is hotter? | Which room is hot?
    Which room is the best? | Which room is the second best?
    Do all pumps run? | Do any pumps run?
    Do all pumps run? | Do some pumps run?
    Do both pumps run? | Do the pumps run?
    Do the pumps only run at night? | Do the pumps run at night?
    Does only pump 1 run? | Does every pump run?
    Is a few enough? | Is few enough?
    How many pumps run? | How many pumps do not run?
    How many pumps run? | How much does the pump run?
    How many pumps run? | Which pumps run?
    How many pumps run at least? | How many pumps run at most?
    How many people have more than 5 days? | How many people have less than 5 days?
    How many people have over 5 days? | How many people have under 5 days?
    Do I have to wear gloves? | May I wear gloves?
    Do I have to wear gloves? | Should I wear gloves?
    Do I have to wear gloves? | Can I wear gloves?
    Do I have to wear gloves? | Do you wear gloves?
    Do I have to wear gloves? | Did I have to wear gloves?
    Which pumps must run? | Which pumps may run?
    Can the pump that must run stop? | Must the pump that can run stop?
    Can I use the lift? | May I use the lift?
    Could the pump have failed? | Can the pump fail?
    Can you open the door? | Can I open the door?
    Would you open the door? | Did you open the door?
    When does the shop open? | When is the shop open?
    When does the shop open? | When did the shop open?
    When does the shop open? | When does the shop close?
    When does the shop open? | Where does the shop open?
    When is the shop closed? | When does the shop close?
    When does the shift start? | When does the shift end?
    When do you open? | When do you close?
    When did it start? | Since when has it been so?
    How long is the belt? | How wide is the belt?
    How long has it run? | How long will it run?
    How long is the break? | When is the break?
    How often did it stop? | When did it stop?
    How often does it stop? | How often did it stop?
    What is the number of the box? | What is the number of boxes?
    What is the name of the pump? | What is the type of the pump?
    What is the price of the pump? | What is the weight of the pump?
    What does the pump weigh? | What does the pump feed?
    What does the pump do? | What is the pump?
    What is in the box? | What is on the box?
    What is in the box? | What was in the box?
    What is on the pump? | What is the pump on?
    What is under the bench? | What is behind the bench?
    What is inside the tank? | What is outside the tank?
    What is above the boiler? | What is below the boiler?
    Where is the cup of coffee? | Where is the coffee cup?
    Where is the box of filters? | Where is the filter box?
    Where is the pump room? | Where is the room pump?
    Where is the key for the pump? | Where is the pump for the key?
    Where is the key? | Whose is the key?
    Where is the key? | Who has the key?
    Where is my key? | Where is your key?
    Where is the cook's knife? | Where is the cook?
    Where are the glasses? | Where is the glass?
    Where are the vaccines stored? | Where were the vaccines stored?
    Where does the water come from? | Where does the water go to?
    Why is the pump hot? | Is the pump hot?
    Why is the pump hot? | Why is the pump cold?
    Why is the pump hot? | Why does the pump heat?
    Why was the pump hot? | Why is the pump hot?
    Is the pump working? | Is the pump worked on?
    Is the fan on at night? | Is the fan at night?
    Is the milk fresh and cold? | Is the milk fresh or cold?
    Is the shop open on weekdays? | Is the shop open on weekends?
    Is the shop open on holidays? | Is the shop open before holidays?
    What do I do before cleaning the pump? | What do I do after cleaning the pump?
    What do I do if the alarm goes off? | What do I do if the alarm does not go off?
    What do I do if the alarm goes off? | What does the alarm do?
    What do I do if the light is red? | What do I do if the light is green?
    What happens if the door opens? | What happens unless the door opens?
    What happened? | What happens?
    What needs 5 A? | What needs 5 a day?
    Is vitamin A stored here? | Is vitamin stored here?
    Is vitamin A stored here? | Is vitamin B stored here?
    What is the pump a pressure? | What is the pump pressure?
    What is group a for? | What is the group for?
    Well 3 pressure? | 3 pressure?
    What time zone is the hotel in? | When is the hotel in?
    Which doctors do you know? | Which doctors?
    What do I earn? | What should I earn?
    What do I owe? | What do you owe?
    Show me the map | What is the map?
    Tell me about the pump | Tell me the pump
    Turn on the light | Turn off the light
    Wie hoch ist der Druck? | Wie hoch war der Druck?
    Muss ich drucken? | Muss ich drücken?
    Is the valve ½ open? | Is the valve ¼ open?
    Is the area 5 m²? | Is the area 5 m?
    Is the area 5²? | Is the area 52?
    Is it 😀? | Is it 😡?
    Do we use import or export licences? | Do we use export or import licences?
    What is the operator of line 2? | What is the operation of line 2?
    What is the policy? | What is the police?
    What is internal? | What is international?
    Is the organ stored? | Is the organization stored?
    Who is the author? | Who is the authority?
    Are you sure? | Are you sure it is safe?
    What does Anna need? | What does Anna not need?
    What does Anna need for the trip? | What does Anna need from the trip?
    What is due to Anna? | What is due from Anna?
    Did Anna sell the car to Bert? | Did Anna buy the car from Bert?
    Did the price go up? | Did the price go down?
    Who borrowed the key? | Who lent the key?
    Who teaches Anna? | Who learns from Anna?
    Is it safe to mix A with B? | Is it safe to mix A before B?
    """
)

SAME_STATEMENTS: Final = pairs(
    """
    The fridge limit is 8 °C. | The limit of the fridge is 8 degrees Celsius.
    The fridge's limit is 8 °C | Remember that the limit of the fridge is 8 °C.
    Fridge limit: 8 °C | The fridge limit is 8 °C
    FYI, the gate code is 4711. | The code of the gate is 4711.
    Please note: Anna has the key. | Anna has the key!
    The pump isn't working. | The pump is not working.
    Filters are replaced every 3 months. | The filters are exchanged every three months.
    """
)

DIFFERENT_STATEMENTS: Final = pairs(
    """
    The fridge limit is 8 °C. | The fridge limit was 8 °C.
    The fridge limit is 8 °C. | The freezer limit is 8 °C.
    The fridge limit is 8 °C. | The fridge limit is 7 °C.
    The fridge limit is 8 °C. | The fridge limit is not 8 °C.
    The fridge limit is 8 °C. | The fridge limit is 8 °C on Sundays.
    The fridge limit is 8 °C. | Is the fridge limit 8 °C?
    Anna has the key. | Anna had the key.
    Anna gave Bert the key. | Bert gave Anna the key.
    Anna must call Bert. | Anna may call Bert.
    Filters are replaced every 3 months. | Filters are replaced every 3 weeks.
    The pump runs before the fan. | The fan runs before the pump.
    We have to wear gloves. | We may wear gloves.
    """
)

STANDING_ALONE: Final = (
    "Wie hoch ist das Limit des Kühlschranks?",
    "What is the limit of the fridge?",
    "How do I clean pump 3?",
    "Can you tell me where the first aid kit is?",
    "How long does it take to defrost the freezer?",
    "Is there a spare key in the office?",
    "Do I have to wear gloves in hall 2?",
)
LEANING: Final = (
    "Wer hat heute Dienst?",
    "Quelle était la température hier ?",
    "¿Quién está de guardia hoy?",
    "Quem trabalha hoje no turno do dia?",
    "Wie is er vandaag?",
    "今天谁值班？",
    "Кто сегодня дежурит?",
    "Is it on?",
    "What about that one?",
    "What was the temperature yesterday?",
    "Who is on duty today?",
    "What is the temperature now?",
    "What happened two days ago?",
    "And the other pump?",
    "Who did she call?",
    "What is the code again?",
    "What happened last week?",
    "Are they the same?",
)
