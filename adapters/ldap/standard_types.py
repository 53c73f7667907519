"""Attribute types that most directories have, for when a directory does not show its schema.

A line each: OID, names joined by ``=``, supertype. RFC 4512, 4519, 4524, 2798 (inetOrgPerson), 2307, 3112, 4530, 5020,
draft-behera-ldap-password-policy; Active Directory's (MS-ADA1 to MS-ADA3); Samba's, 389-ds' and OpenLDAP's secrets.
"""

STANDARD_TYPES = """\
2.5.4.0 objectClass
2.5.4.1 aliasedObjectName=aliasedEntryName
2.5.4.2 knowledgeInformation
2.5.4.3 cn=commonName name
2.5.4.4 sn=surname name
2.5.4.5 serialNumber
2.5.4.6 c=countryName name
2.5.4.7 l=localityName name
2.5.4.8 st=stateOrProvinceName name
2.5.4.9 street=streetAddress
2.5.4.10 o=organizationName name
2.5.4.11 ou=organizationalUnitName name
2.5.4.12 title name
2.5.4.13 description
2.5.4.14 searchGuide
2.5.4.15 businessCategory
2.5.4.16 postalAddress
2.5.4.17 postalCode
2.5.4.18 postOfficeBox
2.5.4.19 physicalDeliveryOfficeName
2.5.4.20 telephoneNumber
2.5.4.21 telexNumber
2.5.4.22 teletexTerminalIdentifier
2.5.4.23 facsimileTelephoneNumber=fax
2.5.4.24 x121Address
2.5.4.25 internationaliSDNNumber
2.5.4.26 registeredAddress postalAddress
2.5.4.27 destinationIndicator
2.5.4.28 preferredDeliveryMethod
2.5.4.31 member distinguishedName
2.5.4.32 owner distinguishedName
2.5.4.33 roleOccupant distinguishedName
2.5.4.34 seeAlso distinguishedName
2.5.4.35 userPassword
2.5.4.36 userCertificate
2.5.4.37 cACertificate
2.5.4.38 authorityRevocationList
2.5.4.39 certificateRevocationList
2.5.4.40 crossCertificatePair
2.5.4.41 name
2.5.4.42 givenName=gn name
2.5.4.43 initials name
2.5.4.44 generationQualifier name
2.5.4.45 x500UniqueIdentifier
2.5.4.46 dnQualifier
2.5.4.47 enhancedSearchGuide
2.5.4.49 distinguishedName
2.5.4.50 uniqueMember
2.5.4.51 houseIdentifier
2.5.4.53 deltaRevocationList
2.5.18.1 createTimestamp
2.5.18.2 modifyTimestamp
2.5.18.3 creatorsName
2.5.18.4 modifiersName
2.5.18.9 hasSubordinates
2.5.18.10 subschemaSubentry
2.5.21.5 attributeTypes
2.5.21.6 objectClasses
2.5.21.9 structuralObjectClass
0.9.2342.19200300.100.1.1 uid=userid
0.9.2342.19200300.100.1.3 mail=rfc822Mailbox
0.9.2342.19200300.100.1.4 info
0.9.2342.19200300.100.1.5 drink=favouriteDrink
0.9.2342.19200300.100.1.6 roomNumber
0.9.2342.19200300.100.1.7 photo
0.9.2342.19200300.100.1.8 userClass
0.9.2342.19200300.100.1.9 host
0.9.2342.19200300.100.1.10 manager
0.9.2342.19200300.100.1.20 homePhone=homeTelephoneNumber
0.9.2342.19200300.100.1.21 secretary
0.9.2342.19200300.100.1.25 dc=domainComponent
0.9.2342.19200300.100.1.37 associatedDomain
0.9.2342.19200300.100.1.38 associatedName
0.9.2342.19200300.100.1.39 homePostalAddress
0.9.2342.19200300.100.1.40 personalTitle
0.9.2342.19200300.100.1.41 mobile=mobileTelephoneNumber
0.9.2342.19200300.100.1.42 pager=pagerTelephoneNumber
0.9.2342.19200300.100.1.43 co=friendlyCountryName
0.9.2342.19200300.100.1.44 uniqueIdentifier
0.9.2342.19200300.100.1.55 audio
0.9.2342.19200300.100.1.60 jpegPhoto
1.3.6.1.4.1.250.1.57 labeledURI
2.16.840.1.113730.3.1.1 carLicense
2.16.840.1.113730.3.1.2 departmentNumber
2.16.840.1.113730.3.1.3 employeeNumber
2.16.840.1.113730.3.1.4 employeeType
2.16.840.1.113730.3.1.39 preferredLanguage
2.16.840.1.113730.3.1.40 userSMIMECertificate
2.16.840.1.113730.3.1.216 userPKCS12
2.16.840.1.113730.3.1.241 displayName
1.3.6.1.1.1.1.0 uidNumber
1.3.6.1.1.1.1.1 gidNumber
1.3.6.1.1.1.1.2 gecos
1.3.6.1.1.1.1.3 homeDirectory
1.3.6.1.1.1.1.4 loginShell
1.3.6.1.1.1.1.12 memberUid
1.3.6.1.1.16.4 entryUUID
1.3.6.1.1.20 entryDN
1.3.6.1.4.1.4203.1.3.4 authPassword
1.3.6.1.4.1.42.2.27.8.1.16 pwdChangedTime
1.3.6.1.4.1.42.2.27.8.1.17 pwdAccountLockedTime
1.3.6.1.4.1.42.2.27.8.1.19 pwdFailureTime
1.3.6.1.4.1.42.2.27.8.1.20 pwdHistory
1.3.6.1.4.1.42.2.27.8.1.22 pwdReset
2.16.840.1.113730.3.1.96 passwordHistory
2.16.840.1.113730.3.1.2305 nsslapd-rootpw
2.16.840.1.113719.1.301.4.38.1 krbPrincipalKey
2.16.840.1.113719.1.301.4.27.1 krbMKey
1.3.6.1.4.1.7165.2.1.24 sambaLMPassword
1.3.6.1.4.1.7165.2.1.25 sambaNTPassword
1.3.6.1.4.1.7165.2.1.54 sambaPasswordHistory
1.3.6.1.4.1.4203.1.12.2.3.0.54 olcRootPW
1.2.840.113556.1.2.102 memberOf
1.2.840.113556.1.4.1 rdn
1.2.840.113556.1.4.2 objectGUID
1.2.840.113556.1.4.8 userAccountControl
1.2.840.113556.1.4.55 dBCSPwd
1.2.840.113556.1.4.90 unicodePwd
1.2.840.113556.1.4.94 ntPwdHistory
1.2.840.113556.1.4.96 pwdLastSet
1.2.840.113556.1.4.125 supplementalCredentials
1.2.840.113556.1.4.129 trustAuthIncoming
1.2.840.113556.1.4.135 trustAuthOutgoing
1.2.840.113556.1.4.146 objectSid
1.2.840.113556.1.4.160 lmPwdHistory
1.2.840.113556.1.4.221 sAMAccountName
1.2.840.113556.1.4.302 sAMAccountType
1.2.840.113556.1.4.539 initialAuthIncoming
1.2.840.113556.1.4.540 initialAuthOutgoing
1.2.840.113556.1.4.656 userPrincipalName
1.2.840.113556.1.4.771 servicePrincipalName
1.2.840.113556.1.4.782 objectCategory
1.2.840.113556.1.4.1208 aNR
1.2.840.113556.1.2.281 nTSecurityDescriptor
1.2.840.113556.1.4.1964 msFVE-RecoveryPassword
1.2.840.113556.1.4.1999 msFVE-KeyPackage
1.2.840.113556.1.4.2196 msDS-ManagedPassword
1.2.840.113556.1.4.27 currentValue
1.2.840.113556.1.4.100 priorValue"""
