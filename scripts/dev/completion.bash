# shellcheck shell=bash
# Completion of scripts/dev/* for bash: `source scripts/dev/completion.bash`.
# The words are those of each script's own --help, so there is nothing to keep in step.

_hostel_dev() {
  local script=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words
  COMPREPLY=()
  [ -x "$script" ] || return 0
  case $previous in
    --only) words='fmt clippy shell lua deny bpf doc unit privileged vm' ;;
    --images | --binaries | --binary) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return 0 ;;
    *) words=$("$script" --help | grep -oE -- '^  --[a-z-]+' | tr -d ' ') ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -o default -F _hostel_dev scripts/dev/{setup,test,vm,demo,bench} ./scripts/dev/{setup,test,vm,demo,bench} ./{setup,test,vm,demo,bench}
