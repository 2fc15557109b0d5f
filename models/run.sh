#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Searches the models with spin, exhaustively:
#
#	models/run.sh --small|--large [MODEL...]
#
# The models as they are must pass, and each of their lines be reached in one run or another. "Comes
# to rest" is the same as a property of fairness: a run does not go round in circles for ever. Then
# each rule is left out, and an error has to be found. One line is printed for a run; the exit
# status is 1 if one of them is not as expected. JOBS runs at a time (the number of CPUs), files
# only in a temporary directory.
set -eu -o pipefail

usage()
{
	sed -n 's/^#\t\(models.*\)/usage: \1/p' "$0" >&2
	exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in
--small) large=0 memory=3000 ;;
--large) large=1 memory=9000 ;;
*) usage ;;
esac
shift
only=" $* "
cc=${CC:-cc}
jobs=${JOBS:-$(nproc)}
work=$(mktemp -d)
trap 'exit 1' INT TERM
trap 'kill $(jobs -p) 2>/dev/null || :; wait; rm -rf "$work"' EXIT
count=0

# say MODEL WHAT STATES SECONDS RESULT
say()
{
	printf '%-9s %-44s %9s states %6s s  %s\n' "$@"
}

# The states of the program in $1 that the search with the output $2 came through, as "line", and
# all that there are.
note_lines()
{
	"$1" -d >"$2.table"
	awk -v reached="$2.reached" -v present="$2.present" '
		FNR == 1 { file++ }
		file == 1 && /^unreached in/ { process = $4 ? $4 : $3; next }
		file == 1 && process && match($0, /state [0-9]+/) {
			missed[process, substr($0, RSTART + 6, RLENGTH - 6)] = 1
			next
		}
		file == 2 && /^proctype|^init|^claim/ { process = $2 ? $2 : $1; next }
		file == 2 && /^\tstate/ && match($0, /\.pml:[0-9]+/) {
			line = substr($0, RSTART + 5, RLENGTH - 5)
			print line >present
			if (!((process, $2) in missed))
				print line >reached
		}' "$2" "$2.table"
}

# run KIND MODEL DEFINES...: in a directory of its own.
run()
{
	local kind=$1 model=$2 what build=(-O2) search=() claim= states seconds found result=wrong
	shift 2
	what="$*"
	case $kind in
	plain) build+=(-DSAFETY) ;;
	live) build+=(-DNFAIR=4) search=(-a -f) claim=-DLIVE what="comes to rest: $what" ;;
	drop) build=(-O0 -DSAFETY) what="without ${1#-DDROP_}" search=(-w20) ;;
	esac
	what=${what//-D/}

	mkdir "$work/$count"
	cd "$work/$count"
	cp "$here/$model.pml" .
	if ! spin -a $claim "$@" "$model.pml" >out 2>&1 ||
		! "$cc" -w "${build[@]}" -DMEMLIM="$memory" -DVECTORSZ=2048 -o pan pan.c >>out 2>&1; then
		say "$model" "$what" - - "WRONG: cannot be built"
		cat out
		return
	fi
	timeout -s INT 1200 ./pan -m1000000 "${search[@]}" >out 2>&1 || :

	states=$(awk '/states, stored/ { print $1; exit }' out)
	seconds=$(awk '/elapsed time/ { print $4; exit }' out)
	found=$(sed -n 's/^pan:1: //p' out | head -n 1)
	if [ "$kind" = drop ]; then
		grep -Eq '^pan:1: (assertion violated|invalid end state)' out && result="found: $found"
	elif grep -q 'errors: 0$' out && [ -z "$found" ] &&
		! grep -Eqi 'not completed|too small|reached -DMEMLIM|out of memory|truncated' out; then
		result="exhausted, no error"
	fi
	say "$model" "$what" "${states:--}" "${seconds:--}" "${result/#wrong/WRONG: ${found:-no error found, or the search is not complete}}" |
		cut -c 1-150
	if [ "$kind" = plain ] && [ "$result" != wrong ]; then
		note_lines ./pan out
		mv out.reached "$work/$model.$count.reached"
		mv out.present "$work/$model.$count.present"
	fi
	cd "$work"
	rm -rf "${work:?}/$count"
	[ "$result" = wrong ] || touch "$work/expected.$count"
}

# is_meant MODEL
is_meant()
{
	[ "$only" = "  " ] || [ "${only/ $1 /}" != "$only" ]
}

# begin KIND MODEL DEFINES...: as soon as there is a CPU for it.
begin()
{
	is_meant "$2" || return 0
	while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
		wait -n || :
	done
	count=$((count + 1))
	run "$@" &
}

large()
{
	[ "$large" = 0 ] || begin "$@"
}

# The models as they are.

begin plain sleep -DNLOOPS=1 -DNEVENTS=2
begin plain sleep -DNLOOPS=2 -DNEVENTS=1
large plain sleep -DNLOOPS=2 -DNEVENTS=2 -DNSTARVES=2
begin live sleep -DNLOOPS=1 -DNEVENTS=1

begin plain takeover -DNBLOCK=2 -DNQUICK=0
begin plain takeover -DNBLOCK=1 -DNQUICK=1
large plain takeover -DNBLOCK=2 -DNQUICK=1
large plain takeover -DNBLOCK=3 -DNQUICK=0 -DNFAILS=2
large plain takeover -DNBLOCK=2 -DNQUICK=0 -DNFAILS=2 -DMAX_THREADS=2
begin plain takeover -DDENIED=1 -DMAX_THREADS=3 -DNBLOCK=2 -DNQUICK=0 -DNRUN=1
begin plain takeover -DDENIED=1 -DMAX_THREADS=3 -DNBLOCK=1 -DNQUICK=1
large plain takeover -DDENIED=1 -DMAX_THREADS=3 -DNBLOCK=2 -DNQUICK=1 -DNRUN=1
large plain takeover -DDENIED=1 -DMAX_THREADS=3 -DNBLOCK=3 -DNQUICK=0 -DNRUN=2
begin live takeover -DNBLOCK=2 -DNQUICK=0
begin live takeover -DDENIED=1 -DMAX_THREADS=3 -DNBLOCK=2 -DNQUICK=0 -DNRUN=1

begin plain output -DWITH_RESET=1
begin plain output -DNSENDERS=1 -DNBROADCASTS=1 -DSIZE=2 -DCAP=2 -DWITH_RESET=1
begin plain output -DSIZE=2 -DCAP=2 -DNINPUT=2
large plain output -DNSENDERS=3 -DSIZE=2 -DCAP=1
large plain output -DSIZE=4 -DCAP=3 -DSPACE=2 -DWITH_RESET=1
large plain output -DNBROADCASTS=1 -DSIZE=2 -DCAP=2 -DNINPUT=1
begin live output -DSIZE=2

begin plain gather
large plain gather -DNMESSAGES=5 -DNBLOCKS=5
begin live gather

begin plain cap
large plain cap -DNSAYS=5

begin plain relief
large plain relief -DNWAITS=5 -DNLOOKS=4

begin plain width
large plain width -DNWORKERS=4

begin plain lend
large plain lend -DNTURNS=3 -DNMESSAGES=3 -DNBLOCKS=4

begin plain strand -DWITH_FORCE=1
begin plain strand -DWITH_FORCE=0
large plain strand -DWITH_FORCE=1 -DNBYTES=5

begin plain dialled
begin plain dialled -DTIMEOUTS=1 -DNTASKS=1
begin plain dialled -DWITH_END=1 -DNREADS=1 -DNTASKS=1
large plain dialled -DWITH_END=1 -DTIMEOUTS=1 -DNREADS=1 -DNTASKS=1
large plain dialled -DNREADS=3 -DNTASKS=1

begin plain tasks -DWITH_END=1
begin plain tasks -DWITH_END=0

begin plain stop -DNCONNS=1 -DFIRST_LOOP=1
begin plain stop -DNCONNS=1 -DNRUNS=2
begin plain stop -DNCONNS=1 -DSECOND=1
begin plain stop -DNCONNS=1 -DINSIDE=1
begin plain stop -DNCONNS=1 -DINSIDE=2
begin plain stop -DNCONNS=1 -DEND_IDLE=1
large plain stop -DNCONNS=2
large plain stop -DNCONNS=1 -DNRUNS=2 -DSECOND=1
begin live stop -DNCONNS=1

begin plain reconnect
large plain reconnect -DNRUNS=3 -DTRIES=3

begin plain conn -DWITH_ALARMS=0 -DNUNITS=3 -DWITH_COPY=0 -DWITH_OTHER=0
begin plain conn -DWITH_ALARMS=0 -DNUNITS=0
begin plain conn -DWITH_ALARMS=1 -DNUNITS=0 -DWITH_COPY=0 -DWITH_OTHER=0
large plain conn -DWITH_ALARMS=0 -DNUNITS=5 -DREADS_PER_TURN=2 -DWITH_COPY=0 -DWITH_OTHER=0
large plain conn -DWITH_ALARMS=0 -DNUNITS=2
large plain conn -DWITH_ALARMS=1 -DNUNITS=1 -DWITH_COPY=0 -DWITH_OTHER=0
begin live conn -DWITH_ALARMS=0 -DNUNITS=1 -DWITH_COPY=0 -DWITH_OTHER=0

# Each rule left out once: README.md has the rules.

for rule in LOOP_FENCE LATE_STIR MONITOR_FENCE LAST_LOOK WAKE POST STARVED_FENCE; do
	begin drop sleep -DDROP_$rule
done

for rule in EVENTS_IN_LOOP CHAIN_IN_LOOP HEIR_BEHIND BECOME_HEIR TURN_SCOPE; do
	begin drop takeover -DDROP_$rule
done
begin drop takeover -DDROP_RETRY -DNFAILS=2 -DNBLOCK=1 -DNQUICK=0
for rule in ASK_FOR_HEIR GIVE_OUTSIDE_TURN FLAG_FIRST CALL_AGAIN; do
	begin drop takeover -DDROP_$rule -DDENIED=1 -DMAX_THREADS=3 -DNRUN=1
done

for rule in PENDING WAIT_FOR_LOCK ONE_MORE_TRY FIN_LAST TURN_AWAY TELL_CLOSE DEATH_WAKES COME_BACK; do
	begin drop output -DDROP_$rule
done
for rule in TELL_BROKEN BREAK_WAKES; do
	begin drop output -DDROP_$rule -DWITH_RESET=1
done
begin drop output -DDROP_KEEP_PLACE -DWITH_END=0
begin drop output -DDROP_BROADCAST_BEHIND -DNBROADCASTS=1 -DSIZE=2 -DCAP=2
begin drop output -DDROP_RESUME -DSIZE=2 -DCAP=2 -DNINPUT=2

for rule in CURRENT_FIRST HEIR_FLUSH CLEAR_FLAG TURN_END FLUSH_FIRST; do
	begin drop gather -DDROP_$rule
done

for rule in YIELD JUDGE_ON_LOOP TAKE_FROM_QUEUE; do
	begin drop cap -DDROP_$rule
done

for rule in NUMBER READY LOCK LOOK_AGAIN; do
	begin drop relief -DDROP_$rule
done

for rule in WIDEN WAKE_MONITOR CHAIN TAKE_CALLS; do
	begin drop width -DDROP_$rule
done
for rule in FLAG_FIRST REFERENCE COMPARE ASK LENT_WAITS LET_GO_CLEARS; do
	begin drop lend -DDROP_$rule
done

for rule in FIBER_FIRST FOLLOW_UP LET_GO LET_GO_BEHIND KEEP_INPUT EMPTIED CLEAR_GATHER READ_ALWAYS; do
	begin drop strand -DDROP_$rule -DWITH_FORCE=0
done
for rule in LINE_LOCK FORCE_WAKES; do
	begin drop strand -DDROP_$rule -DWITH_FORCE=1
done

for rule in WANTED_FIRST ASK_LOOP LOOK YIELD RECV_AGAIN FOR_LOOP FLAG_LAST; do
	begin drop dialled -DDROP_$rule
done
for rule in EXCHANGE GRANT_REF PUSH_BACK FD; do
	begin drop dialled -DDROP_$rule -DWITH_END=1 -DNREADS=1 -DNTASKS=1
done

for rule in ENDED FREEING RUNNING TELL_FREED; do
	begin drop tasks -DDROP_$rule
done
for rule in TELL_QUEUED FORGET_FIRST OWN_WISH WISH_AGAIN SETTLE; do
	begin drop tasks -DDROP_$rule -DWITH_END=0
done

for rule in LISTENER_LOOP FINAL_ACCEPT LISTENERS_FIRST ACCEPT_LATER INNER_BLOCK SETTLERS \
	SETTLER_BEHIND LEFT FREE_WAITS; do
	begin drop stop -DDROP_$rule -DNCONNS=1
done
for rule in IDLE_FLAG_FIRST LOOK_AGAIN; do
	begin drop stop -DDROP_$rule -DNCONNS=1 -DEND_IDLE=1
done
begin drop stop -DDROP_UNASKED -DNCONNS=1 -DEND_IDLE=1 -DNRUNS=2
begin drop stop -DDROP_INSIDE -DNCONNS=1 -DINSIDE=1
begin drop stop -DDROP_WAITER_REF -DNCONNS=1 -DINSIDE=2
begin drop stop -DDROP_BUSY -DNCONNS=1 -DNRUNS=2
for rule in ALARM_REF ALARM_LISTED RUN_OF_STOP; do
	begin drop stop -DDROP_$rule -DNCONNS=1 -DSECOND=1
done

for rule in STAYS_RUNNING FORGET UNDER_LOCK ALARM_REF SET_ANEW; do
	begin drop reconnect -DDROP_$rule
done

words="-DWITH_ALARMS=0 -DWITH_COPY=0 -DWITH_OTHER=0 -DNUNITS=3"
for rule in ONE_STEP EXCHANGE LET_GO HANGUP_FLAG HANGUP_FIRST READ_ON PUSH NO_TOUCH BUSY_FOR_EVER \
	LOOP_REF ACCEPT_REF BATCH_FIRST FD_OWNER FD_LOCK FD_MINUS_ONE ADD_LOCK; do
	# shellcheck disable=SC2086 # words on purpose
	begin drop conn -DDROP_$rule $words
done
begin drop conn -DDROP_WAKER -DWITH_ALARMS=0 -DNUNITS=1
begin drop conn -DDROP_DEL -DWITH_ALARMS=0 -DNUNITS=1
for rule in CHAIN_FIRST ALARM_LOCK RING_RETURNS; do
	begin drop conn -DDROP_$rule -DNUNITS=0 -DWITH_COPY=0 -DWITH_OTHER=0
done

while [ "$(jobs -rp | wc -l)" -gt 0 ]; do
	wait -n || :
done

# Lines that no plain run came through: a model that cannot go there proves nothing of it.
unreached=0
for model in sleep takeover output cap relief width lend strand dialled tasks stop reconnect conn; do
	is_meant $model || continue
	cat "$work/$model".*.present 2>/dev/null | sort -un >"$work/present" || :
	cat "$work/$model".*.reached 2>/dev/null | sort -un >"$work/reached" || :
	for line in $(sort "$work/present" | comm -23 - <(sort "$work/reached") | sort -n); do
		sed -n "$((line - 1)),${line}p" "$here/$model.pml" | grep -q 'Not reached:\|^}$' && continue
		echo "$model.pml:$line: WRONG: never reached: $(sed -n "${line}s/^[[:space:]]*//p" \
			"$here/$model.pml")"
		unreached=$((unreached + 1))
	done
done

expected=$(find "$work" -name 'expected.*' | wc -l)
if [ "$count" = 0 ] || [ "$expected" != "$count" ] || [ "$unreached" != 0 ]; then
	echo "models: WRONG: $((count - expected)) of $count runs, $unreached lines never reached"
	exit 1
fi
echo "models: all $count runs as expected, in $SECONDS s"
