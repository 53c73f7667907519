"""What a name in front of a parenthesis does: built-in functions that only read, and words that are no functions.

A name that is in neither list is a function we do not know (stored or loadable): it may write.
"""

from __future__ import annotations

READING = frozenset(
    """
    abs acos against adddate addtime aes_decrypt aes_encrypt any_value ascii asin atan atan2 avg bin bin_to_uuid binary
    bit_and bit_count bit_length bit_or bit_xor benchmark cast ceil ceiling char char_length character_length
    charset chr coalesce coercibility collation column_add column_check column_create column_delete column_exists
    column_get column_json column_list compress concat concat_ws connection_id conv convert convert_tz cos cot count
    crc32 crc32c cume_dist curdate current_date current_role current_time current_timestamp current_user curtime
    database date date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear decode
    decode_histogram decrypt default degrees dense_rank elt encode encrypt exp export_set extract extractvalue field
    find_in_set first_value floor format format_bytes format_pico_time found_rows from_base64 from_days
    from_unixtime geomcollfromtext geometrycollection get_format glength greatest group_concat grouping hex hour if
    ifnull inet6_aton inet6_ntoa inet_aton inet_ntoa insert instr interval is_free_lock is_ipv4 is_ipv4_compat
    is_ipv4_mapped is_ipv6 is_used_lock is_uuid isnull json_array json_array_append json_array_insert json_arrayagg
    json_compact json_contains json_contains_path json_depth json_detailed json_equals json_exists json_extract
    json_insert json_keys json_length json_loose json_merge json_merge_patch json_merge_preserve json_normalize
    json_object json_object_filter_keys json_object_to_array json_objectagg json_overlaps json_pretty json_query
    json_quote json_remove json_replace json_schema_valid json_schema_validation_report json_search json_set
    json_storage_free json_storage_size json_table json_type json_unquote json_valid json_value kdf lag last_day
    last_insert_id last_value lastval lcase lead least left length lengthb linestring ln localtime localtimestamp
    locate log log10 log2 lower lpad ltrim make_set makedate maketime match max mbrcontains mbrequal mbrintersects
    mbrwithin md5 median microsecond mid min minute mod month monthname multilinestring multipoint multipolygon
    name_const natural_sort_key now nth_value ntile nullif nvl nvl2 oct octet_length old_password ord password
    percent_rank percentile_cont percentile_disc period_add period_diff pi point polygon position pow power quarter
    quote radians rand random_bytes rank regexp_instr regexp_like regexp_replace regexp_substr repeat replace
    reverse right roles_graphml round row row_count row_number rownum rpad rtrim schema sec_to_time second
    session_user sformat sha sha1 sha2 sign sin sleep soundex space sqrt st_area st_asbinary st_asgeojson st_astext
    st_aswkb st_aswkt st_boundary st_buffer st_centroid st_contains st_convexhull st_crosses st_difference
    st_dimension st_disjoint st_distance st_distance_sphere st_endpoint st_envelope st_equals st_exteriorring
    st_geohash st_geomcollfromtext st_geometryfromtext st_geometryn st_geometrytype st_geomfromgeojson
    st_geomfromtext st_geomfromwkb st_interiorringn st_intersection st_intersects st_isclosed st_isempty st_isring
    st_issimple st_isvalid st_latfromgeohash st_latitude st_length st_linefromtext st_linestringfromtext
    st_longfromgeohash st_longitude st_makeenvelope st_numgeometries st_numinteriorrings st_numpoints st_overlaps
    st_pointfromgeohash st_pointfromtext st_pointn st_pointonsurface st_polyfromtext st_polygonfromtext st_relate
    st_simplify st_srid st_startpoint st_swapxy st_symdifference st_touches st_transform st_union st_validate
    st_within st_x st_y statement_digest statement_digest_text std stddev stddev_pop stddev_samp str_to_date strcmp
    subdate substr substring substring_index subtime sum sys_guid sysdate system_user tan time time_format
    time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_char to_days to_seconds trim truncate
    ucase uncompress uncompressed_length unhex unix_timestamp updatexml upper user utc_date utc_time utc_timestamp
    uuid uuid_short uuid_to_bin validate_password_strength value values var_pop var_samp variance version week
    weekday weekofyear weight_string year yearweek
    """.split()  # noqa: SIM905
)
"""``sleep`` and ``benchmark`` only take time, which limits of the server bound; ``last_insert_id(n)`` is the session's
own."""

WRITING = frozenset({"get_lock", "release_lock", "release_all_locks", "nextval", "setval"})
"""Locks of other sessions' concern, and sequences."""

ADMINISTRATIVE = frozenset(
    """
    load_file sys_exec sys_eval sys_get sys_set do_system master_pos_wait master_gtid_wait source_pos_wait
    wait_for_executed_gtid_set wait_until_sql_thread_after_gtids asynchronous_connection_failover_add_source
    asynchronous_connection_failover_delete_source asynchronous_connection_failover_reset
    group_replication_set_as_primary group_replication_switch_to_single_primary_mode
    group_replication_switch_to_multi_primary_mode group_replication_set_write_concurrency
    group_replication_set_communication_protocol version_token_set keyring_key_store keyring_key_fetch
    keyring_key_remove keyring_key_generate audit_log_filter_set_filter audit_log_filter_set_user audit_log_read
    audit_log_rotate firewall_group_enlist mysql_firewall_flush_status set_firewall_mode
    """.split()  # noqa: SIM905
)
"""Files, commands, replication, keys and the server's own audit."""

NO_FUNCTIONS = frozenset(
    """
    all analyze and any as between by case cascade check columns constraint cross cube decimal dec distinct
    distinctrow div double dumpfile else except exists explain float float4 float8 for force foreign from fulltext
    function group having ignore in index inner int int1 int2 int3 int4 int8 integer intersect into is join key keys
    lateral like limit low_priority mediumint minus natural nchar not numeric of on or order outer outfile over
    partition precision primary range real recursive regexp returning rlike rows select set show smallint some
    spatial sql_no_cache straight_join table then tinyint union unique use using varbinary varchar varying when
    where while window with within xor bigint datetime
    """.split()  # noqa: SIM905
)
"""Reserved words and types in front of a parenthesis: an unquoted one is no call."""
