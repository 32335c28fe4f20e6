%% SPDX-License-Identifier: Apache-2.0
%% Makes a handshake with Erlang's library and prints what it reports: client PORT, or
%% server PORT CERTIFICATE KEY, for one client after another.
main(["server", Port, Certificate, Key]) ->
    {ok, _} = application:ensure_all_started(ssl),
    Options = [{ip, {127, 0, 0, 1}}, {certfile, Certificate}, {keyfile, Key}, {reuseaddr, true}, {active, false}],
    {ok, Listener} = ssl:listen(list_to_integer(Port), Options),
    serve(Listener);
main(["client", Port]) ->
    {ok, _} = application:ensure_all_started(ssl),
    {ok, Socket} = ssl:connect({127, 0, 0, 1}, list_to_integer(Port), [{verify, verify_none}], 60000),
    {ok, Information} = ssl:connection_information(Socket, [protocol, selected_cipher_suite]),
    {_, Version} = lists:keyfind(protocol, 1, Information),
    {_, Suite} = lists:keyfind(selected_cipher_suite, 1, Information),
    io:format("~s ~s~n", [Version, ssl:suite_to_str(Suite)]),
    ssl:close(Socket).

serve(Listener) ->
    {ok, Accepted} = ssl:transport_accept(Listener),
    case ssl:handshake(Accepted, 60000) of
        {ok, Socket} -> ssl:recv(Socket, 0), ssl:close(Socket);
        {error, _} -> ok
    end,
    serve(Listener).
