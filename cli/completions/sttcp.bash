# SPDX-License-Identifier: MIT
# Completion of sttcp(1) for bash.

_sttcp_options()
{
	case $1 in
	echo)
		echo '--client-ca --drain --framing --idle --json --log --max --max-message --per-ip
			--stats --tls' ;;
	chat)
		echo '--client-ca --drain --idle --json --log --max --per-ip --stats --tls' ;;
	listen)
		echo '--client-ca --drain --framing --idle --keep --log --max-message --raw --tls' ;;
	connect)
		echo '--ca --cert --connect-timeout --framing --idle --insecure --log --max-message
			--raw --tls --tls-name' ;;
	exec)
		echo '--client-ca --drain --stderr --idle --json --log --max --per-ip --stats --tls' ;;
	proxy)
		echo '--balance --client-ca --connect-timeout --drain --idle --json --log --max
			--per-ip --retry --stats --target-ca --target-insecure --target-name --target-tls
			--tls' ;;
	dump)
		echo '--bytes --client-ca --connect-timeout --drain --framing --idle --json --log --max
			--max-message --per-ip --stats --target-ca --target-insecure --target-name
			--target-tls --tls --hex' ;;
	receive)
		echo '--client-ca --drain --force --idle --json --log --resume --tls' ;;
	send)
		echo '--ca --cert --connect-timeout --insecure --json --log --plain --tls --tls-name
			--wait' ;;
	bench)
		echo '--ca --cert --connect-timeout --connections --depth --framing --insecure --json
			--log --max-message --plot --reply-size --request --rate --size --tls --tls-name
			--duration' ;;
	esac
}

# Bash puts the slash behind folders, and quotes.
_sttcp_files()
{
	compopt -o filenames 2>/dev/null || true
	mapfile -t COMPREPLY < <(compgen -f -- "$1")
}

_sttcp()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local verbs='echo chat listen connect exec proxy dump receive send bench'

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "$verbs help --help --version" -- "$word")
		return
	fi
	# "--log=t" comes as three words.
	if [[ $word == = ]]; then
		word=
	elif [[ $before == = ]]; then
		before=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $before in
	--log)
		mapfile -t COMPREPLY < <(compgen -W 'none error warning info trace' -- "$word")
		return
		;;
	--balance)
		mapfile -t COMPREPLY < <(compgen -W 'turn fewest' -- "$word")
		return
		;;
	--framing)
		mapfile -t COMPREPLY < <(compgen -W 'raw line delimiter: length:1 length:2 length:3 length:4 length:8 length:varint fixed:' -- "$word")
		return
		;;
	--ca | --cert | --client-ca | --plot | --target-ca | --tls)
		_sttcp_files "$word"
		return
		;;
	help)
		mapfile -t COMPREPLY < <(compgen -W "$verbs" -- "$word")
		return
		;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_sttcp_options "${COMP_WORDS[1]}") --help" -- "$word")
	elif [[ ${COMP_WORDS[1]} == send || ${COMP_WORDS[1]} == receive ]]; then
		_sttcp_files "$word"
	elif [[ ${COMP_WORDS[1]} == exec ]]; then
		mapfile -t COMPREPLY < <(compgen -c -- "$word")
	fi
}

complete -F _sttcp sttcp
